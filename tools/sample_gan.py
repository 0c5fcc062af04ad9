#!/usr/bin/env python3
"""The command `radiograph sample-gan` from a checkout."""

from radiograph.commands.sample_gan import main

if __name__ == "__main__":
    main()
