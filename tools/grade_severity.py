#!/usr/bin/env python3
"""The command `radiograph grade-severity` from a checkout."""

from radiograph.commands.grade_severity import main

if __name__ == "__main__":
    main()
