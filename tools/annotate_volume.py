#!/usr/bin/env python3
"""The command `radiograph annotate-volume` from a checkout."""

from radiograph.commands.annotate_volume import main

if __name__ == "__main__":
    main()
