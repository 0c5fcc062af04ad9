#!/usr/bin/env python3
"""The command `radiograph benchmark` from a checkout."""

from radiograph.commands.benchmark import main

if __name__ == "__main__":
    main()
