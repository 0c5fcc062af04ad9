"""`radiograph sample-gan` as a user runs it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from data.patch_files import read_patches
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.runs.checkpoint import save_checkpoint
from radiograph.cli import main


def run(*arguments: object) -> Result:
    """Run the command in this process; a traceback fails the test."""
    result = CliRunner().invoke(main, [str(a) for a in ("sample-gan", "--run", *arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_run(folder: Path, model: dict) -> Path:
    """Write a run's folder with the starting weights of a model."""
    config = check_config({"model": model})
    torch.manual_seed(0)
    save_checkpoint(folder / "best.ckpt", build_model(config.model, 1), config, [{"id": 1, "name": "defect"}], 1, {})
    return folder


@pytest.fixture
def gan(tmp_path: Path) -> Path:
    return write_run(tmp_path / "gan", {"name": "dcgan", "size": 16, "latent": 4, "width": 2})


def test_patches_come_from_the_seed_and_can_be_read_again(gan: Path, tmp_path: Path) -> None:
    found = {}
    for name, seed, bits in (("a", 1, 8), ("b", 1, 8), ("c", 2, 8), ("d", 1, 16)):
        out = tmp_path / f"{name}.npz"
        done = run(gan, "--count", 70, "--out", out, "--seed", seed, "--bits", bits)
        assert done.exit_code == 0, done.output
        assert (tmp_path / f"{name}_sheet.png").is_file()
        found[name] = read_patches(out, 16)
    patches = found["a"]
    assert (len(patches), patches.pixels.dtype) == (70, np.uint8)
    assert set(patches.labels) == {1}
    assert set(patches.origins) == {"gan"}
    assert len(set(patches.files)) == 70
    np.testing.assert_array_equal(patches.pixels, found["b"].pixels)
    assert not np.array_equal(patches.pixels, found["c"].pixels)
    np.testing.assert_allclose(found["d"].pixels / 257.0, patches.pixels, atol=0.51)


def test_faults_are_one_line(gan: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", {"name": "xnet_v2"})
    for arguments, words in (
        ((tmp_path / "none", "--out", tmp_path / "a.npz"), "no such checkpoint"),
        ((other, "--out", tmp_path / "a.npz"), "a run of 'xnet_v2', which makes no patches"),
        ((gan, "--out", tmp_path / "a.png"), "patches are written as .npz"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        (line,) = [line for line in result.stderr.splitlines() if line.strip()]
        assert line.startswith("error: ")
        assert words in line
    assert not list(tmp_path.glob("a*"))
