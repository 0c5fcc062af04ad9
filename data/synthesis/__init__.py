"""Simulated radiographs and simulated defects."""
