#!/usr/bin/env python3
"""The command `radiograph write-back` from a checkout."""

from radiograph.commands.write_back import main

if __name__ == "__main__":
    main()
