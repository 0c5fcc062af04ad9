#!/usr/bin/env python3
"""The command `radiograph compare-pore-models` from a checkout."""

from radiograph.commands.compare_pore_models import main

if __name__ == "__main__":
    main()
