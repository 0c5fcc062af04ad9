#!/usr/bin/env python3
"""The command `radiograph show-config` from a checkout."""

from radiograph.commands.show_config import main

if __name__ == "__main__":
    main()
