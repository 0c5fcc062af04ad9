#!/usr/bin/env python3
"""The command `radiograph bound-misses` from a checkout."""

from radiograph.commands.bound_misses import main

if __name__ == "__main__":
    main()
