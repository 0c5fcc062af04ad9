#!/usr/bin/env python3
"""The command `radiograph prepare-gdxray` from a checkout."""

from radiograph.commands.prepare_gdxray import main

if __name__ == "__main__":
    main()
