#!/usr/bin/env python3
"""The command `radiograph estimate-box-padding` from a checkout, under its former name."""

from radiograph.commands.estimate_box_padding import main

if __name__ == "__main__":
    main()
