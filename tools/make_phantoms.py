#!/usr/bin/env python3
"""The command `radiograph make-phantoms` from a checkout."""

from radiograph.commands.make_phantoms import main

if __name__ == "__main__":
    main()
