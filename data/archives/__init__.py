"""Archives of any size as Parquet: radiographs in shards, and detections and ground truth with a row a radiograph."""
