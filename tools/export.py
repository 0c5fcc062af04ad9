#!/usr/bin/env python3
"""The command `radiograph export` from a checkout."""

from radiograph.commands.export import main

if __name__ == "__main__":
    main()
