#!/usr/bin/env python3
"""The command `radiograph image-quality` from a checkout."""

from radiograph.commands.image_quality import main

if __name__ == "__main__":
    main()
