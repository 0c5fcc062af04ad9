#!/usr/bin/env python3
"""The command `radiograph accept` from a checkout."""

from radiograph.commands.accept import main

if __name__ == "__main__":
    main()
