#!/usr/bin/env python3
"""The command `radiograph plot-pr` from a checkout."""

from radiograph.commands.plot_pr import main

if __name__ == "__main__":
    main()
