#!/usr/bin/env python3
"""The command `radiograph simulate-pod` from a checkout."""

from radiograph.commands.simulate_pod import main

if __name__ == "__main__":
    main()
