#!/usr/bin/env python3
"""The command `radiograph make-patches` from a checkout."""

from radiograph.commands.make_patches import main

if __name__ == "__main__":
    main()
