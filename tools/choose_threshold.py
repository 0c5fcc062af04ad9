#!/usr/bin/env python3
"""The command `radiograph choose-threshold` from a checkout."""

from radiograph.commands.choose_threshold import main

if __name__ == "__main__":
    main()
