"""Simulated defects in shards: those of `write_simulated`, the same bytes however they were written."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("pyarrow")

from data.archives.parts import flat_boxes, part_path, read_part
from data.archives.schema import GROUND_TRUTH, RADIOGRAPHS
from data.archives.truth import read_classes
from data.coco import CocoDataset, read_coco, write_coco
from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis import simulated_shards
from data.synthesis.simulated_set import write_simulated
from data.synthesis.simulated_shards import count_simulated, write_simulated_shards
from data.synthesis.simulation_config import SimulationConfig
from radiograph.cli import main

KEPT = SimulationConfig()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a COCO file of three radiographs: 8-bit PNG, 16-bit PNG and 12-bit TIFF, the second with a real defect."""
    folder = tmp_path / "source"
    images = []
    for k, (name, bits) in enumerate([("a.png", 8), ("deep/b.png", 16), ("c.tif", 12)], start=1):
        y, x = np.mgrid[:80, :96] / 100
        noise = np.random.default_rng(k).normal(0, 0.01, (80, 96))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_radiograph(folder / name, (0.3 + 0.3 * x + 0.1 * y + noise).clip(0, 1).astype(np.float32), bits)
        images.append({"id": 10 * k, "file_name": name, "width": 96, "height": 80})
    real = {"id": 1, "image_id": 20, "category_id": 7, "bbox": [8, 9, 12, 11], "area": 132, "iscrowd": 0}
    categories = [{"id": 3, "name": "crack"}, {"id": 7, "name": "pore"}]
    write_coco(folder / "set.json", CocoDataset(images, [real], categories))
    return folder / "set.json"


def write(source: Path, out: Path, *, shards: int = 2, copies: int = 1, workers: int = 1, seed: int = 4,
          config: SimulationConfig = KEPT) -> Path:  # fmt: skip
    return write_simulated_shards(
        read_coco(source), source.parent, out, config, 3, shards, seed, copies=copies, workers=workers
    )


def digests(out: Path) -> dict[str, str]:
    files = (file for file in out.rglob("*") if file.is_file())
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read_shards(out: Path, shards: int) -> dict[str, tuple[bytes, np.ndarray, list[int]]]:
    """Return bytes, boxes and labels of all radiographs by name."""
    found = {}
    for number in range(shards):
        rows = [row for batch in read_part(part_path(out / "radiographs", number), RADIOGRAPHS)
                for row in batch.to_pylist()]  # fmt: skip
        (truth,) = read_part(part_path(out / "truth", number), GROUND_TRUTH)
        starts, boxes = flat_boxes(truth)
        for k, row in enumerate(rows):
            assert truth["file"][k].as_py() == row["file"]
            found[row["file"]] = row["image"], boxes[starts[k] : starts[k + 1]], truth["labels"][k].as_py()
    return found


def test_shards_hold_what_a_simulated_set_holds(source: Path, tmp_path: Path) -> None:
    whole = read_coco(write_simulated(read_coco(source), source.parent, tmp_path / "whole", KEPT, 3, 4))
    manifest = write(source, tmp_path / "shards")
    found = read_shards(tmp_path / "shards", 2)
    assert [*found] == [image["file_name"] for image in whole.images]
    for image in whole.images:
        content, boxes, labels = found[image["file_name"]]
        assert content == (tmp_path / "whole" / image["file_name"]).read_bytes()
        np.testing.assert_array_equal(boxes, whole.boxes_xyxy(image["id"]).astype(np.float32))
        assert labels == [whole.label_of[a["category_id"]] for a in whole.annotations_of(image["id"])]
    assert read_classes(tmp_path / "shards" / "truth") == ["crack", "pore"]
    simulated = sum(bool(a.get("simulated")) for a in whole.annotations)
    assert simulated > 0
    assert count_simulated(manifest) == {"radiographs": 3, "simulated": simulated, "real": 1}


def test_copies_have_other_defects_and_share_nothing_with_where_shards_end(source: Path, tmp_path: Path) -> None:
    manifest = write(source, tmp_path / "four", shards=4, copies=3, config=SimulationConfig(real_defects="inpaint"))
    found = read_shards(tmp_path / "four", 4)
    assert len(found) == 9
    assert [*found][:3] == ["000001/a.png", "000002/a.png", "000003/a.png"]
    assert len({content for content, _, _ in found.values()}) == 9
    assert count_simulated(manifest)["real"] == 0
    write(source, tmp_path / "one", shards=1, copies=3, config=SimulationConfig(real_defects="inpaint"))
    for name, row in read_shards(tmp_path / "one", 1).items():
        assert row[0] == found[name][0]
        np.testing.assert_array_equal(row[1], found[name][1])


def test_an_interrupted_set_is_the_same_to_the_byte(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, tmp_path / "whole", shards=3, workers=2)
    whole_shard = simulated_shards.write_simulated_shard

    def stop(shard: simulated_shards.Shard) -> int:
        if shard.number == 1:
            raise KeyboardInterrupt
        return whole_shard(shard)

    monkeypatch.setattr(simulated_shards, "write_simulated_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        write(source, tmp_path / "stopped", shards=3)
    monkeypatch.undo()
    first = part_path(tmp_path / "stopped" / "radiographs", 0)
    before = first.stat().st_mtime_ns
    write(source, tmp_path / "stopped", shards=3)
    assert first.stat().st_mtime_ns == before
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    with pytest.raises(InputError, match="made with other arguments"):
        write(source, tmp_path / "stopped", shards=3, seed=5)
    write_radiograph(source.parent / "a.png", np.full((80, 96), 0.4, np.float32))
    with pytest.raises(InputError, match="made with other arguments"):
        write(source, tmp_path / "stopped", shards=3)


def test_command(source: Path, tmp_path: Path) -> None:
    arguments = ["simulate-defects", str(source), "--out", str(tmp_path / "set"), "--per-image", "2"]
    for wrong, message in (
        (["--copies", "2"], "--copies: works on shards"),
        (["--workers", "2"], "--workers: works on shards"),
        (["--shards", "4"], "--shards 4: must be from 1 to the number of radiographs, 3"),
    ):
        result = CliRunner().invoke(main, [*arguments, *wrong])
        assert result.exit_code == 2
        assert message in result.stderr
    result = CliRunner().invoke(main, [*arguments, "--shards", "2", "--copies", "2", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "set").iterdir()} == {
        "montage.png", "simulation.json", "radiographs", "shards.json", "truth"
    }  # fmt: skip
    counts = json.loads((tmp_path / "set" / "shards.json").read_text())["counts"]
    assert f"{counts['simulated']} simulated defects in 6 radiographs" in " ".join(result.output.split())
