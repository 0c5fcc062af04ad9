#!/usr/bin/env python3
"""The command `radiograph simulate-defects` from a checkout."""

from radiograph.commands.simulate_defects import main

if __name__ == "__main__":
    main()
