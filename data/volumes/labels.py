"""What the voxels of a label volume stand for."""

AIR = 0
MATERIAL = 1
PORE = 2
"""Wholly inside of the part."""
OPEN_PORE = 3
"""Open to the surface of the part."""
IGNORED = 255
"""Nobody knows: neither trained on nor evaluated; the same value as in masks of radiographs."""

NAMES = {AIR: "air", MATERIAL: "material", PORE: "pore", OPEN_PORE: "open pore", IGNORED: "ignored"}

OPEN_PORES = {"ignore": IGNORED, "pore": 1, "background": 0}
"""What an open pore teaches, and counts as: nothing, a pore, or background."""
