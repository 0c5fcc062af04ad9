#!/usr/bin/env python3
"""The command `radiograph train-without-labels` from a checkout."""

from radiograph.commands.train_without_labels import main

if __name__ == "__main__":
    main()
