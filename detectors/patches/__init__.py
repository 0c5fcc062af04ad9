"""Patch classifiers and their dense application to whole radiographs."""
