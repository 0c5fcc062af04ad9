#!/usr/bin/env python3
"""The command `radiograph show-feature-maps` from a checkout."""

from radiograph.commands.show_feature_maps import main

if __name__ == "__main__":
    main()
