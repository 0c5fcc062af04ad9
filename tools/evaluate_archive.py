#!/usr/bin/env python3
"""The command `radiograph evaluate-archive` from a checkout."""

from radiograph.commands.evaluate_archive import main

if __name__ == "__main__":
    main()
