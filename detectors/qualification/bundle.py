"""Freeze a run: one folder with all that its answers depend on, and with reference radiographs and their answers.

ASTM E3327 asks that software which assists an inspector stays as it was qualified. The folder is a run's folder still:
`predict --run BUNDLE` and `report --run BUNDLE` work on it.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.files import write_json, write_text
from data.image_paths import confined_path
from data.image_quality.limits import LIMITS_FILE, limits_of_files, read_limits, write_limits
from data.radiograph import find_radiographs
from detectors.backbones.packaged import find_packaged
from detectors.decisions.rules import read_rules
from detectors.evaluation.runs import read_run
from detectors.libraries import library_versions
from detectors.runs.output_folder import staged_folder
from detectors.runs.reading import read_sized
from detectors.runtime.folder import check_sums, file_hash, is_exported
from detectors.runtime.opening import open_predictor
from detectors.version import __version__

BUNDLE_FILE, SUMS = "bundle.json", "SHA256SUMS.bundle"
FORMAT, VERSION = "radiograph-detectors qualification bundle", 1
OVERRIDES, HEAD = "overrides", "head.json"  # a folder that grows after the freeze, and has a chain of hashes of its own
REFERENCES = 4
FAINTEST = 0.5  # of the threshold: fainter detections are not part of the answer
KEPT = (
    "config.yaml", "metrics.json", "threshold.json", "detections.json", "ground_truth.json", "matches.csv", "pod.json",
    LIMITS_FILE,
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A frozen run: its folder and what `bundle.json` holds."""

    folder: Path
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """What `predict --run` takes: a checkpoint, packaged weights, or the folder of an exported model."""
        return self.folder / str(self.record["model"])

    @property
    def seal(self) -> str:
        """The hash of `bundle.json`, which holds the hashes of all that was frozen."""
        return file_hash(self.folder / BUNDLE_FILE)


def freeze(
    run: Path, out: Path, references: Sequence[Path] = (), exported: Path | None = None, rules: Path | None = None
) -> Bundle:
    """Write the bundle of a run into a new folder.

    Args:
        run: folder of a run, a checkpoint, packaged weights or an exported model.
        out: a new or empty folder.
        references: radiographs, or folders of them; by default four of those that the run was evaluated on.
        exported: the exported model of the run, to go with it.
        rules: acceptance rules, to go with it.

    Raises InputError for a run that cannot be opened, without references, for rules that contradict themselves, and
    where `out` holds something. Nothing is written then.

    """
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: holds something already; a bundle is never changed: choose another --out")
    if rules is not None:
        read_rules(rules)  # what cannot be applied is not worth freezing
    predictor, threshold = open_predictor(run)
    files = find_radiographs(references) if references else _evaluated_radiographs(run)
    with staged_folder(out, last=BUNDLE_FILE) as folder:
        model = _copy_model(run, folder)
        if exported is not None:
            check_sums(exported)
            shutil.copytree(exported, folder / "exported", dirs_exist_ok=True)
        if rules is not None:
            _copy(rules, folder / "rules.yaml")
        answers = []
        for number, file in enumerate(files, start=1):
            name = f"references/{number:03d}_{file.name[-100:]}"
            _copy(file, folder / name)
            answers.append({"file_name": name, "detections": answer(predictor, folder / name, threshold)})
        if read_limits(folder) is None:  # not evaluated: the references are what there is
            write_limits(folder, limits_of_files(files, predictor.window))
        record = {
            "format": FORMAT,
            "version": VERSION,
            "model": model,
            "threshold": threshold,
            "window": None if predictor.window is None else str(predictor.window),
            "categories": predictor.categories,
            "toolkit": __version__,
            "versions": library_versions(),
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "references": answers,
            "files": hashes(folder),
        }
        write_json(folder / BUNDLE_FILE, record, indent=1)
        write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in hashes(folder).items()))
        # The log of overrides begins with its head: where that is gone, the log was taken away.
        seal = file_hash(folder / BUNDLE_FILE)
        write_json(folder / OVERRIDES / HEAD, {"lines": 0, "hash": seal})
    return Bundle(out, record)


def read_bundle(folder: Path) -> Bundle:
    """Return a bundle. Raises InputError for a folder that is none, of another version, or with a missing file."""
    path = folder / BUNDLE_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        right = record["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is missing or damaged; give a folder that radiograph freeze wrote") from error
    if not right or record.get("version") != VERSION:
        raise InputError(f"{path}: is not a bundle of version {VERSION}; freeze the run again with this toolkit")
    try:
        names = [*record["files"], SUMS]
        checked = float(record["threshold"]), [(one["file_name"], one["detections"]) for one in record["references"]]
        if str(record["model"]) != "exported" and record["model"] not in names:
            raise KeyError(record["model"])
        names += [name for name, _ in checked[1]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: lacks what a check needs ({error}); freeze the run again") from error
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path}: names {name}, which lies outside of the bundle; it was altered")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing from the bundle; copy the whole folder anew")
    return Bundle(folder, record)


def answer(predictor: Any, file: Path, threshold: float) -> list[dict[str, Any]]:
    """Return the detections of one radiograph from half the threshold upwards: box x1 y1 x2 y2, score, label."""
    found = predictor.find(read_sized(file, predictor.window), with_map=False).detections
    keep = np.flatnonzero(found["scores"] >= FAINTEST * threshold)
    return [
        {
            "box": [float(value) for value in found["boxes"][k]],
            "score": float(found["scores"][k]),
            "label": int(found["labels"][k]),
        }
        for k in keep
    ]


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every frozen file by its name within the folder; the overrides grow and are left out."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: file_hash(folder / name) for name in names if name != SUMS and not name.startswith(f"{OVERRIDES}/")}


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _copy_model(run: Path, folder: Path) -> str:
    """Copy what predicts, and what is known of it; return its name in the bundle."""
    packaged = find_packaged(run)
    if packaged is not None:
        _copy(packaged, folder / packaged.name)
        _copy(packaged.with_suffix(".json"), folder / packaged.with_suffix(".json").name)
        return packaged.name
    if is_exported(run):
        shutil.copytree(run, folder / "exported")
        if (run / LIMITS_FILE).is_file():
            _copy(run / LIMITS_FILE, folder / LIMITS_FILE)
        return "exported"
    home = run if run.is_dir() else run.parent
    checkpoint = run if run.is_file() else next(p for p in (run / "best.ckpt", run / "last.ckpt") if p.is_file())
    _copy(checkpoint, folder / "best.ckpt")
    for name in KEPT:
        if (home / name).is_file():
            _copy(home / name, folder / name)
    return "best.ckpt"


def _copy(source: Path, target: Path) -> None:
    """Copy one file. Raises InputError where there is none."""
    if not source.is_file():
        raise InputError(f"{source}: no such file; it belongs to the bundle")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _evaluated_radiographs(run: Path) -> list[Path]:
    """Return up to four radiographs that a run was evaluated on, evenly spread."""
    home = run if run.is_dir() else run.parent
    if not (home / "ground_truth.json").is_file():
        raise InputError(f"{run}: was not evaluated here, so it names no radiographs; give --reference FILE or FOLDER")
    evaluated = read_run(home)
    if evaluated.image_dir is None or not evaluated.dataset.images:
        raise InputError(f"{run}: its evaluation names no radiographs; give --reference FILE or FOLDER")
    images = evaluated.dataset.images
    places = np.unique(np.linspace(0, len(images) - 1, min(REFERENCES, len(images))).round().astype(int))
    return [confined_path(evaluated.image_dir, images[place]["file_name"], images[place]["id"]) for place in places]
