"""Phantoms in shards: the radiographs of `make_phantom`, the same bytes however they were written."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("pyarrow")

from data.archives.parts import flat_boxes, part_path, read_part
from data.archives.schema import GROUND_TRUTH, RADIOGRAPHS
from data.errors import InputError
from data.radiograph import encode_radiograph, read_radiograph, write_radiograph
from data.synthesis import phantom_shards
from data.synthesis.phantom import make_phantom
from data.synthesis.phantom_shards import count_shards, write_phantom_shards
from radiograph.cli import main

SIZE = (96, 80)


def write(out: Path, workers: int = 1, n: int = 7) -> Path:
    return write_phantom_shards("castings", n, out, 3, 3, style="easy", size=SIZE, workers=workers)


def digests(out: Path) -> dict[str, str]:
    files = (file for file in out.rglob("*") if file.is_file())
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_shards_hold_the_phantoms_of_their_numbers(tmp_path: Path) -> None:
    rows = count_shards(write(tmp_path))
    found, known = [], []
    for number in range(3):
        for batch in read_part(part_path(tmp_path / "radiographs", number), RADIOGRAPHS):
            found += batch.to_pylist()
        for batch in read_part(part_path(tmp_path / "truth", number), GROUND_TRUTH):
            starts, boxes = flat_boxes(batch)
            sizes = zip(batch["file"].to_pylist(), batch["width"].to_pylist(), batch["height"].to_pylist(), strict=True)
            known += [(*size, boxes[starts[k] : starts[k + 1]]) for k, size in enumerate(sizes)]
    names = [f"castings/{k:09d}.png" for k in range(7)]
    assert [row["file"] for row in found] == names
    assert [row[:3] for row in known] == [(name, *SIZE) for name in names]
    phantoms = [make_phantom("castings", 3, k, style="easy", size=SIZE) for k in range(7)]
    for phantom, row, truth in zip(phantoms, found, known, strict=True):
        assert row["image"] == encode_radiograph("0.png", phantom.pixels)
        np.testing.assert_array_equal(truth[3], phantom.boxes)
    counts = [len(phantom.boxes) for phantom in phantoms]
    assert rows[-1] == ("all", 7, sum(counts), counts.count(0))
    assert [sum(column) for column in zip(*(row[1:] for row in rows[:-1]), strict=True)] == list(rows[-1][1:])


def test_encoded_bytes_are_those_of_a_written_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((20, 30), np.float32)
    for bits in (8, 16):
        write_radiograph(tmp_path / "a.png", pixels, bits)
        assert (tmp_path / "a.png").read_bytes() == encode_radiograph("a.png", pixels, bits)
    assert read_radiograph(tmp_path / "a.png").pixels.shape == (20, 30)
    with pytest.raises(InputError, match=r"b\.png: pixel values"):
        encode_radiograph("b.png", pixels + 1)


def test_an_interrupted_set_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "whole", workers=2)
    write_shard = phantom_shards.write_shard

    def stop(shard: phantom_shards.Shard) -> int:
        if shard.number == 1:
            raise KeyboardInterrupt
        return write_shard(shard)

    monkeypatch.setattr(phantom_shards, "write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "stopped")
    monkeypatch.undo()
    first = part_path(tmp_path / "stopped" / "radiographs", 0)
    before = first.stat().st_mtime_ns
    part_path(tmp_path / "stopped" / "truth", 2).unlink(missing_ok=True)
    write(tmp_path / "stopped")
    assert first.stat().st_mtime_ns == before
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    with pytest.raises(InputError, match="made with other arguments"):
        write(tmp_path / "stopped", n=8)


def test_command(tmp_path: Path) -> None:
    arguments = ["make-phantoms", "--count", "4", "--style", "easy", "--size", "96x80", "--out", str(tmp_path / "set")]
    result = CliRunner().invoke(main, [*arguments, "--shards", "2", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "set").iterdir()} == {
        "montage.png", "phantoms.json", "radiographs", "shards.json", "truth"
    }  # fmt: skip
    for wrong, message in ((["--shards", "5"], "--shards 5"), (["--shards", "2", "--iqi"], "quality indicators")):
        result = CliRunner().invoke(main, [*arguments, *wrong])
        assert result.exit_code == 2
        assert message in result.stderr
