#!/usr/bin/env python3
"""The command `radiograph learn-normal` from a checkout."""

from radiograph.commands.learn_normal import main

if __name__ == "__main__":
    main()
