#!/usr/bin/env python3
"""The command `radiograph compare` from a checkout."""

from radiograph.commands.compare import main

if __name__ == "__main__":
    main()
