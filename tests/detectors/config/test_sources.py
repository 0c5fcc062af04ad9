"""Sources side by side: a folder of defect-free radiographs says nothing of categories, and goes with any."""

from pathlib import Path

import numpy as np
import pytest

from data.coco import CocoDataset, write_coco
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.files import check_config
from detectors.config.sources import check_radiographs, load_evaluation_source, segmentation_dataset, training_dataset
from detectors.training.patches import PatchTask

PORE = [{"id": 7, "name": "pore"}]
FRESH = {"per_image": (2, 2), "semi_axis": {"low": 4, "high": 6}, "contrast": {"low": 0.1, "high": 0.2}}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[dict, dict]:
    """A COCO file with one pore, and a folder of two defect-free radiographs."""
    pixels = np.full((96, 128), 0.4)
    for name in ("defect_free/a.png", "defect_free/b.png", "pores/c.png"):
        write_radiograph(tmp_path / name, pixels, 8)
    image = {"id": 1, "file_name": "c.png", "width": 128, "height": 96}
    square = [[20.0, 30, 40, 30, 40, 50, 20, 50]]
    pore = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [20.0, 30, 20, 20], "segmentation": square, "iscrowd": 0}
    write_coco(tmp_path / "pores" / "pores.json", CocoDataset([image], [pore | {"area": 400.0}], PORE))
    return {"json": str(tmp_path / "pores" / "pores.json")}, {
        "images": str(tmp_path / "defect_free"),
        "simulate": FRESH,
    }


def config(*sources: dict) -> ExperimentConfig:
    return check_config({"model": {"name": "xnet"}, "data": {"train": list(sources), "workers": 0}})


@pytest.mark.parametrize("folder_first", [False, True])
def test_a_folder_takes_the_categories_of_the_other_sources(folders: tuple[dict, dict], folder_first: bool) -> None:
    both = config(*(folders[::-1] if folder_first else folders))
    drawn, categories = training_dataset(both)
    assert categories == PORE
    assert {int(label) for k in range(len(drawn)) for label in drawn[k][1]["labels"]} == {1}
    assert segmentation_dataset(both)[1] == PORE
    assert PatchTask(both).categories == PORE


def test_a_folder_alone_knows_defects(folders: tuple[dict, dict]) -> None:
    assert training_dataset(config(folders[1]))[1] == [{"id": 1, "name": "defect"}]


def test_a_folder_has_the_categories_of_the_model_it_judges(folders: tuple[dict, dict]) -> None:
    dataset, _ = load_evaluation_source(SourceConfig(images=folders[1]["images"]), PORE)
    assert (dataset.categories, len(dataset.images), dataset.annotations) == (PORE, 2, [])
    with pytest.raises(InputError, match="are not the model's"):
        load_evaluation_source(SourceConfig(**folders[0]), [{"id": 1, "name": "defect"}])


def test_patches_are_no_radiographs() -> None:
    with pytest.raises(InputError, match=r"some\.npz: patches, where whole radiographs are needed"):
        training_dataset(config({"patches": "some.npz"}))


def test_all_radiographs_are_read_before_a_training(folders: tuple[dict, dict]) -> None:
    both = config(*folders)
    check_radiographs(both, PORE)
    torn = Path(folders[1]["images"]) / "b.png"
    torn.write_bytes(torn.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"b\.png"):
        check_radiographs(both, PORE)
    check_radiographs(config(folders[0], {"phantoms": {"n": 5, "fresh": True}}, {"patches": "none.npz"}), PORE)
