#!/usr/bin/env python3
"""The command `radiograph freeze` from a checkout."""

from radiograph.commands.freeze import main

if __name__ == "__main__":
    main()
