#!/usr/bin/env python3
"""The command `radiograph override` from a checkout."""

from radiograph.commands.override import main

if __name__ == "__main__":
    main()
