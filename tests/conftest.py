"""Small simulated data sets that many tests share."""

import signal
from pathlib import Path

import pytest

from data.coco import CocoDataset, write_coco
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom


def write_castings(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (128, 96)) -> Path:
    """Write small plain castings as 8-bit PNG and their COCO file; return its path. The first has no defect."""
    images, annotations = [], []
    index = 0
    while len(images) < count:
        phantom = make_phantom("castings", seed, index, style="easy", size=size)
        index += 1
        if (len(phantom.boxes) == 0) != (not images):
            continue
        number = len(images) + 1
        name = f"C0001_{number:04d}.png"
        write_radiograph(folder / name, phantom.pixels, 8)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1], "series": "C0001"})
        for x1, y1, x2, y2 in phantom.boxes.tolist():
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    path = folder / "castings.json"
    write_coco(path, CocoDataset(images, annotations, [{"id": 1, "name": "defect"}]))
    return path


@pytest.fixture(scope="session")
def castings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The COCO file of six small castings, the first of them clean."""
    return write_castings(tmp_path_factory.mktemp("castings"), 6)


@pytest.fixture(autouse=True)
def _children_end_quietly() -> None:
    """Take back the handler of SIGCHLD that torch sets: where OpenVINO ran, its signal frame may not fit, and kills."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
