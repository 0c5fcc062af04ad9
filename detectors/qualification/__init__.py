"""Qualification: a frozen system that can be checked again, its overrides, and grades by reference radiographs."""
