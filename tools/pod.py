#!/usr/bin/env python3
"""The command `radiograph estimate-pod` from a checkout, under its former name."""

from radiograph.commands.estimate_pod import main

if __name__ == "__main__":
    main()
