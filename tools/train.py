#!/usr/bin/env python3
"""The command `radiograph train` from a checkout."""

from radiograph.commands.train import main

if __name__ == "__main__":
    main()
