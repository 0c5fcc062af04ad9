#!/usr/bin/env python3
"""The command `radiograph evaluate-series` from a checkout."""

from radiograph.commands.evaluate_series import main

if __name__ == "__main__":
    main()
