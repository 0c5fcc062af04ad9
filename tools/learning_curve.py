#!/usr/bin/env python3
"""The command `radiograph measure-learning-curve` from a checkout, under its former name."""

from radiograph.commands.measure_learning_curve import main

if __name__ == "__main__":
    main()
