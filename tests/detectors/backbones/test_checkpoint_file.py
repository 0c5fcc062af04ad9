"""Checkpoints that are torn, foreign, tampered with or hostile: refused in one line, and nothing is executed."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError
from detectors.backbones.checkpoint_file import read_checkpoint
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.runs.checkpoint import load_model, save_checkpoint

SMALL = {"name": "dcgan", "size": 16, "latent": 4, "width": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    config = check_config({"model": SMALL})
    save_checkpoint(tmp_path / "a.ckpt", build_model(config.model, 1), config, [{"id": 1, "name": "defect"}], 1, {})
    return tmp_path / "a.ckpt"


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_no_code_of_a_checkpoint_is_executed(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    torch.save(content | {"metrics": Evil(tmp_path / "owned")}, file)
    refused(file, "not a readable checkpoint")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    refused(tmp_path / "b.ckpt", "not a readable checkpoint")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": 3}, "does not hold tensors"),
        ({"model": {"a": 1}}, "does not hold tensors"),
        ({"model": {}}, "do not fit the dcgan"),
        ({"config": "x"}, "'config' is of type str"),
        ({"config": {}}, "no section 'model'"),
        ({"config": {"model": {"name": ["a"]}}}, "no section 'model'"),
        ({"config": {"model": {"name": "abc"}}}, "its configuration: model.name is 'abc'"),
        ({"config": {"model": SMALL | {"width": "x"}}}, "field 'model.width'"),
        ({"config": {"model": SMALL | {"width": 4}}}, "do not fit the dcgan"),
        ({"config": {"model": SMALL | {"width": 10**6}}}, "do not fit the dcgan|field 'model.width'"),
        ({"config": {"model": SMALL | {"latent": 10**12}}}, "do not fit the dcgan|field 'model.latent'"),
        ({"config": {"model": SMALL | {"latent": 10**30}}}, "do not fit the dcgan|field 'model.latent'"),
        ({"categories": []}, "'categories' is no list"),
        ({"categories": [{"id": "1", "name": "a"}]}, "a category has no"),
        ({"categories": [{"id": 1, "name": "a"}] * 20_000}, "'categories' is no list"),
        ({"epoch": -1}, "'epoch' is no whole number"),
        ({"metrics": {"ap50": "x"}}, "'metrics' does not hold numbers"),
        ({"training": "x"}, "'training' is no mapping"),
    ],
)
def test_other_types_are_named(file: Path, change: dict, words: str) -> None:
    torch.save(torch.load(file, weights_only=True) | change, file)
    refused(file, words)


def test_weights_of_another_precision_are_refused(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    content["model"] = {name: value.half() for name, value in content["model"].items()}
    torch.save(content, file)
    refused(file, "do not fit the dcgan")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_torn_checkpoint_is_named(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    refused(file, "not a readable checkpoint")


def test_one_changed_bit_in_the_weights_is_noticed(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        entry = max((e for e in archive.infolist() if "/data/" in e.filename), key=lambda e: e.file_size)
        weights = archive.read(entry)
    content = bytearray(file.read_bytes())
    content[content.find(weights) + 5] ^= 1
    file.write_bytes(bytes(content))
    refused(file, "the checksum of .* differs")


def test_a_packed_checkpoint_is_refused(file: Path) -> None:
    """A few bytes could stand for any number of weights."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    refused(file, "is compressed")


def test_random_bytes_end_in_one_line(file: Path) -> None:
    content = file.read_bytes()
    for number in range(60):
        rng = np.random.default_rng(number)
        mutated = bytearray(content)
        for _ in range(3):
            at = int(rng.integers(len(mutated)))
            if rng.random() < 0.5:
                mutated[at] ^= 1 << int(rng.integers(8))
            else:
                del mutated[at : at + int(rng.integers(1, 40))]
        file.write_bytes(bytes(mutated))
        try:
            read_checkpoint(file)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
