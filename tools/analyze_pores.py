#!/usr/bin/env python3
"""The command `radiograph analyze-pores` from a checkout."""

from radiograph.commands.analyze_pores import main

if __name__ == "__main__":
    main()
