"""What self-contained pages share: their style, and pictures with the data inside."""

import base64
from html import escape
from pathlib import Path

import cv2
import numpy as np

WIDTH = 520  # pixels of a picture on a page

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "figure{display:inline-block;margin:.4rem}figcaption{font-size:12px;color:#555}img{max-width:100%}"
)


def figure_of_file(path: Path, width: int = WIDTH) -> str:
    """Return a picture file as an HTML figure with its data inside; nothing where it cannot be read."""
    picture = cv2.imread(str(path))
    return "" if picture is None else _figure(picture, path.stem, width)


def figure_of(picture: np.ndarray, caption: str, width: int = WIDTH) -> str:
    """Return a picture RGB uint8 [H, W, 3] as an HTML figure with its data inside, no wider than `width`."""
    return _figure(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), caption, width)


def _figure(picture: np.ndarray, caption: str, width: int) -> str:
    scale = min(width / picture.shape[1], 1.0)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()).decode()
    name = escape(caption)
    return f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}"><figcaption>{name}</figcaption></figure>'
