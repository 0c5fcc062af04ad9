"""Detectors that answer with boxes: Faster R-CNN, R-FCN, SSD."""
