#!/usr/bin/env python3
"""The command `radiograph evaluate` from a checkout."""

from radiograph.commands.evaluate import main

if __name__ == "__main__":
    main()
