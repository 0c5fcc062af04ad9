#!/usr/bin/env python3
"""The command `radiograph compare-defect-mixes` from a checkout."""

from radiograph.commands.compare_defect_mixes import main

if __name__ == "__main__":
    main()
