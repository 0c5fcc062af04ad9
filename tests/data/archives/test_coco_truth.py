"""Ground truth of COCO files of any size: the same rows as of the whole file in memory, whatever fits at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

import pyarrow as pa

from data.archives.coco_truth import write_coco_truth
from data.archives.parts import read_part
from data.archives.schema import GROUND_TRUTH
from data.archives.truth import read_classes, write_truth
from data.coco import read_coco
from data.errors import InputError
from data.tasks import ProcessTasks

TASKS = ProcessTasks(1)


def rows(parts: list[Path]) -> list[dict[str, Any]]:
    return [row for part in parts for batch in read_part(part, GROUND_TRUTH) for row in batch.to_pylist()]


def content(ids: list[int], owners: list[int], first: str = "images") -> dict[str, Any]:
    """Return a COCO file of these images, with an annotation of 1.5 x 2 pixels for each owner."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in ids]
    annotations = [
        {"id": k, "image_id": owner, "category_id": 1 + k % 2, "bbox": [k % 20, 3, 1.5, 2], "iscrowd": k % 3 == 0,
         "segmentation": [[1, 1, 2, 1, 2, 2]]} for k, owner in enumerate(owners, start=1)
    ]  # fmt: skip
    sections = {"images": images, "annotations": annotations,
                "categories": [{"id": 2, "name": "pore"}, {"id": 1, "name": "crack"}]}  # fmt: skip
    order = [first, *(name for name in sections if name != first)]
    return {"info": {"year": 2026}, **{name: sections[name] for name in order}}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rows_are_those_of_the_whole_file(tmp_path: Path, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(-50, 10**12), min_size=1, max_size=12, unique=True))
    owners = data.draw(st.lists(st.sampled_from(ids), max_size=20))
    first = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    source = tmp_path / "set.json"
    source.write_text(json.dumps(content(ids, owners, first)))
    whole = rows(write_truth(read_coco(source), tmp_path / "whole"))
    for share_bytes in (10**6, 200):
        parts = write_coco_truth(source, tmp_path / "shares", tmp_path / "work", TASKS, share_bytes)
        assert rows(parts) == whole
        assert read_classes(tmp_path / "shares") == ["crack", "pore"]
        assert not [*(tmp_path / "work").iterdir()]


def test_a_share_holds_a_range_of_ids(tmp_path: Path) -> None:
    source = tmp_path / "set.json"
    source.write_text(json.dumps(content([5, 1, 9, 3], [9, 1, 1])))
    parts = write_coco_truth(source, tmp_path / "out", tmp_path / "work", TASKS, source.stat().st_size // 2 + 1)
    assert [[row["file"] for row in rows([part])] for part in parts] == [["1.png", "3.png"], ["5.png", "9.png"]]
    assert pa.types.is_list(GROUND_TRUTH.field("boxes").type)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].append(dict(c["images"][0], file_name="other.png")), "image id 5 is used twice"),
        (lambda c: c["images"][0].pop("width"), "image 5: no 'width'"),
        (lambda c: c["images"][0].update(id="five"), "image id 'five' is not an integer"),
        (lambda c: c["annotations"][0].update(image_id=6), "annotation 1: no image has id 6"),
        (lambda c: c["annotations"][0].update(image_id=None), "annotation 1: no image has id None"),
        (lambda c: c["annotations"][0].update(category_id=8), "annotation 1: no category has id 8"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "annotation 1 of image 9"),
        (lambda c: c["images"].clear(), "the list 'images' is empty"),
        (lambda c: c.pop("categories"), "no list 'categories'"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: Any, message: str) -> None:
    source, faulty = tmp_path / "set.json", content([5, 1, 9], [9, 1])
    change(faulty)
    source.write_text(json.dumps(faulty))
    with pytest.raises(InputError, match=r"set\.json") as error:
        write_coco_truth(source, tmp_path / "out", tmp_path / "work", TASKS, 150)
    assert message in str(error.value)
