import numpy as np
import pytest

from data.datasets import DetectionDataset
from data.defect_free import read_defect_free
from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.simulation_config import SimulationConfig


def test_a_folder_of_defect_free_radiographs_trains_on_simulated_defects(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("b.png", (100, 130)), ("deep/a.tif", (120, 90))):
        write_radiograph(tmp_path / name, 0.4 + rng.normal(0, 0.004, size), 8)
    coco = read_defect_free(tmp_path)
    assert [(image["file_name"], image["width"], image["height"]) for image in coco.images] == [
        ("b.png", 130, 100), ("deep/a.tif", 90, 120)]  # fmt: skip
    assert not coco.annotations
    _, negative = DetectionDataset(coco, tmp_path)[0]
    assert len(negative["boxes"]) == 0
    _, target = DetectionDataset(coco, tmp_path, simulation=SimulationConfig(per_image=(2, 2)))[0]
    assert (len(target["boxes"]), target["labels"].tolist()) == (2, [1, 1])


def test_no_radiographs_are_an_error(tmp_path):
    with pytest.raises(InputError, match="no radiographs"):
        read_defect_free(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_defect_free(tmp_path / "none")
