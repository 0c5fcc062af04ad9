#!/usr/bin/env python3
"""The command `radiograph check-data` from a checkout."""

from radiograph.commands.check_data import main

if __name__ == "__main__":
    main()
