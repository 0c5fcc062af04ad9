#!/usr/bin/env python3
"""The command `radiograph report` from a checkout."""

from radiograph.commands.report import main

if __name__ == "__main__":
    main()
