"""The columns of archives in Parquet. Importing this module needs pyarrow (extra `cluster`).

`file` is a radiograph's address relative to the archive's root, with forward slashes; it is what detections and ground
truth are joined by. `width` and `height` are in pixels. A box is x1, y1, x2, y2 in pixels, and `labels` count from 1.
"""

import pyarrow as pa

_BOXES = pa.list_(pa.list_(pa.float32(), 4))
_SIZE = [("file", pa.string()), ("width", pa.int32()), ("height", pa.int32())]

DETECTIONS = pa.schema(
    [*_SIZE, ("boxes", _BOXES), ("scores", pa.list_(pa.float32())), ("labels", pa.list_(pa.int16()))]
)
"""What a model found: a row a radiograph, its detections by descending score in [0, 1]."""

GROUND_TRUTH = pa.schema([*_SIZE, ("boxes", _BOXES), ("labels", pa.list_(pa.int16())), ("crowd", pa.list_(pa.bool_()))])
"""What is there: a row a radiograph, defect-free ones included; `crowd` marks regions of many defects."""

RADIOGRAPHS = pa.schema([("file", pa.string()), ("image", pa.binary())])
"""Radiographs themselves: the bytes of a PNG, TIFF, DICONDE or other file that `data.radiograph` reads."""

LISTING = pa.schema(
    [
        ("file", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image_id", pa.int64()),
        ("row_group", pa.int32()),
        ("rows", pa.int32()),
        ("fault", pa.string()),
    ]
)
"""What an archive holds, as it was listed: a row a radiograph, or a row group of a shard of radiographs.

`width`, `height` and `image_id` are those of a COCO file, null elsewhere. Of a shard, `file` is the shard, `row_group`
the group in it and `rows` its radiographs. `fault` says why a radiograph can never be read, null where it may.
"""

UNREADABLE = pa.schema([("file", pa.string()), ("reason", pa.string())])
"""Radiographs that could not be read, and why."""

WARNINGS = pa.schema([("file", pa.string()), ("warning", pa.string())])
"""Radiographs whose gray values or image quality are not what the model knows, and how."""
