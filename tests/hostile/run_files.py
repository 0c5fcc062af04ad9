"""What the toolkit itself wrote, damaged: patch files, checkpoints, a run's results, the marker of phantoms."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.patch_files import read_patches
from data.synthesis.blending import read_changes
from data.synthesis.phantom_set import count_phantoms, write_phantoms
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.evaluation.box_padding import estimate_box_padding
from detectors.evaluation.runs import read_run
from detectors.runs.checkpoint import save_checkpoint
from detectors.runs.sample_gan import sample_run
from tests.hostile.mutation import VALUES, changed_bytes, changed_json
from tests.hostile.worker import Case

COLUMNS = {
    "pixels": np.random.default_rng(1).integers(0, 256, (4, 8, 8)).astype(np.uint8),
    "labels": np.array([1, 0, 1, 0], np.uint8),
    "files": np.array(["W1/a.png", "W1/b.png"]),
    "file_index": np.array([0, 0, 1, 1], np.int32),
    "places": np.array([[4, 4, 0]] * 4, np.float32),
    "origins": np.array(["real", "simulated"]),
    "origin_index": np.array([0, 1, 0, 1], np.int32),
}
TRUTH = {
    "info": {"run_name": "r", "image_dir": "/nowhere"},
    "images": [{"id": 3, "file_name": "x.png", "width": 40, "height": 30}],
    "annotations": [{"id": 9, "image_id": 3, "category_id": 1, "bbox": [4, 4, 8, 8], "area": 64, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "defect"}],
}
DETECTIONS = [{"image_id": 3, "category_id": 1, "bbox": [5, 4, 8, 8], "score": 0.5}]


def _patches(rng: np.random.Generator) -> bytes:
    """Return a patch file with a column of another type, length or range, or with a header that promises too much."""
    columns: dict[str, Any] = dict(COLUMNS)
    name = str(rng.choice(list(columns)))
    value = columns[name]
    numeric = value.dtype.kind in "iuf"
    match int(rng.integers(8)):
        case 0:
            del columns[name]
        case 1:
            columns[name] = value.astype(str) if numeric else np.arange(len(value))
        case 2:
            columns[name] = value[:1] if rng.random() < 0.5 else value[:0]
        case 3:
            columns[name] = np.array(value.flat[0])
        case 4 if numeric:
            columns[name] = value.astype(np.float64) * float(rng.choice([-1, 1e9, np.nan, np.inf]))
        case 5 if numeric:
            columns[name] = value.astype(np.int64) + int(rng.choice([-2, 2, 253, 2**40]))
        case 6:
            columns[name] = np.array([print, None], dtype=object)
        case _:
            columns[name] = value[..., None]
    out = io.BytesIO()
    if rng.random() < 0.1:
        _write_promising(out, 10 ** int(rng.integers(2, 12)))
    else:
        np.savez_compressed(out, **columns)
    return out.getvalue() if rng.random() < 0.6 else changed_bytes(out.getvalue(), rng)


def _write_promising(out: io.BytesIO, count: int) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in COLUMNS.items():
            column = io.BytesIO()
            shape = (count, 8, 8) if name == "pixels" else value.shape
            header = {"descr": np.lib.format.dtype_to_descr(value.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(column, header)
            archive.writestr(f"{name}.npy", column.getvalue() + value.tobytes())


def _checkpoint(good: bytes, rng: np.random.Generator) -> bytes:
    """Return a checkpoint with other bytes, or with another value in its place."""
    if rng.random() < 0.5:
        return changed_bytes(good, rng)
    content = torch.load(io.BytesIO(good), weights_only=True)
    value = VALUES[int(rng.integers(len(VALUES)))]
    key = str(rng.choice(list(content)))
    if rng.random() < 0.5:
        content[key] = value
    elif isinstance(content[key], dict) and content[key]:
        content[key][str(rng.choice(list(content[key])))] = value
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def make_case(folder: Path) -> Case:
    """Return the case that reads a damaged file of one of four kinds."""
    config = check_config({"model": {"name": "dcgan", "size": 16, "latent": 4, "width": 2}})
    save_checkpoint(folder / "good.ckpt", build_model(config.model, 1), config, TRUTH["categories"], 1, {})  # type: ignore[arg-type]
    checkpoint = (folder / "good.ckpt").read_bytes()
    phantoms = {"style": "plain", "size": (64, 64), "workers": 1}
    write_phantoms("castings", 1, folder / "set", 0, **phantoms)  # type: ignore[arg-type]
    marker = (folder / "set" / "phantoms.json").read_bytes()
    run = folder / "run"
    run.mkdir()

    def case(number: int) -> None:
        rng = np.random.default_rng([15, number])
        match number % 4:
            case 0:
                (folder / "patches.npz").write_bytes(_patches(rng))
                patches = read_patches(folder / "patches.npz")
                assert set(np.unique(patches.labels)) <= {0, 1}
                assert len(patches.pixels) == len(patches.labels) == len(patches.files) == len(patches.origins)
                read_changes(folder / "patches.npz")
            case 1:
                (folder / "best.ckpt").write_bytes(_checkpoint(checkpoint, rng))
                sample_run(folder / "best.ckpt", 2)
            case 2:
                changed = changed_json(TRUTH, rng) if rng.random() < 0.5 else json.dumps(TRUTH).encode()
                results = changed_json(DETECTIONS, rng) if rng.random() < 0.5 else json.dumps(DETECTIONS).encode()
                (run / "ground_truth.json").write_bytes(changed)
                (run / "detections.json").write_bytes(results)
                estimate_box_padding(read_run(run).overlaps, 5)
            case _:
                content = changed_json(json.loads(marker), rng)
                (folder / "set" / "phantoms.json").write_bytes(content)
                try:
                    count_phantoms(folder / "set" / "annotations.json")
                    write_phantoms("castings", 1, folder / "set", 0, **phantoms)  # type: ignore[arg-type]
                finally:
                    (folder / "set" / "phantoms.json").write_bytes(marker)

    return case
