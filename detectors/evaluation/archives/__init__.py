"""Evaluation of archives: detections and ground truth in Parquet parts, matched a share at a time."""
