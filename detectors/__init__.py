"""Detectors, and what trains, runs and judges them."""
