#!/usr/bin/env python3
"""The command `radiograph verify` from a checkout."""

from radiograph.commands.verify import main

if __name__ == "__main__":
    main()
