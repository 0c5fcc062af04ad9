#!/usr/bin/env python3
"""The command `radiograph predict` from a checkout."""

from radiograph.commands.predict import main

if __name__ == "__main__":
    main()
