#!/usr/bin/env python3
"""The command `radiograph adapt` from a checkout."""

from radiograph.commands.adapt import main

if __name__ == "__main__":
    main()
