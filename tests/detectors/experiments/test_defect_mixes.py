"""Comparing defect mixes: percentages as asked for, models that are done not trained again, one table at the end."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_patches import TinyConfig, TinyPatchClassifier
from torch import Tensor, nn

from data.coco import CocoDataset, read_coco, write_coco
from data.errors import InputError
from data.patch_datasets import PatchDataset
from data.patch_files import PatchSet, read_patches, write_patches
from data.patches import RadiographPatches
from detectors.build import MODELS
from detectors.config.experiment import SourceConfig
from detectors.config.files import check_config, read_config
from detectors.experiments import defect_mix_data
from detectors.experiments.defect_mix_data import (
    DefectMix,
    Experiment,
    defect_mix_config,
    gan_files,
    mix_config,
    origins_of,
    parse_mixes,
)
from detectors.experiments.defect_mixes import compare_defect_mixes
from detectors.training.patches import PatchTask

SIZE = 16
GAN_LEVEL = 251  # of every pixel of the fake GAN's patches; no casting is as bright and even


class TinyClassifier(TinyPatchClassifier):
    """The brightest answer of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(1, 4, 5), nn.Linear(4, 2)

    def logits(self, patches: Tensor) -> Tensor:
        return self.head(self.layer(patches).amax(dim=(2, 3)))


@pytest.fixture(autouse=True)
def _known_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_patches", (TinyConfig, lambda config, num_classes: TinyClassifier()))


@pytest.fixture
def gan(tmp_path: Path) -> Path:
    """A patch file as a GAN's samples come in: defects alone, here all of one gray level."""
    pixels = np.full((50, SIZE, SIZE), GAN_LEVEL, dtype=np.uint8)
    places, names = np.full((50, 3), np.nan, dtype=np.float32), np.array([f"gan-0-{k}" for k in range(50)])
    write_patches(tmp_path / "gan.npz", PatchSet(pixels, np.ones(50, np.int64), names, places, np.full(50, "gan")))
    return tmp_path / "gan.npz"


@pytest.fixture
def two_series(castings: Path, tmp_path: Path) -> Path:
    """The castings as two series of three."""
    dataset = read_coco(castings)
    for image in dataset.images:
        image["series"] = f"C010{image['id'] % 2}"
    write_coco(tmp_path / "series.json", dataset)
    return tmp_path / "series.json"


def experiment(coco: Path, folder: Path, gan: Path | None, test: Path | None = None, **changes: object) -> Experiment:
    config = check_config(
        {
            "name": "tiny",
            "model": {"name": "tiny_patches"},
            "data": {
                "train": {"phantoms": {"n": 1}, "box_padding": 3,
                          "simulate": {"semi_axis": {"low": 3, "high": 5}, "per_image": [2, 3]}},
                "workers": 0,
                "patches": {"size": SIZE},
            },
            "train": {"epochs": 1, "batch_size": 20, "optimizer": "adamw", "device": "cpu"}
            | {"schedule": {"warmup_steps": 0}},
        }
    )  # fmt: skip
    sources = [SourceConfig(json=str(path), images=str(folder)) for path in (coco, test or coco)]
    return Experiment(
        defect_mix_config(config, *sources, **{"patches": 80, "seed": 7} | changes), coco.parent / "exgy", gan
    )


def test_shares_are_read() -> None:
    assert parse_mixes("100/0, 75/25,0/100,75/25") == [DefectMix(100, 0), DefectMix(75, 25), DefectMix(0, 100)]
    assert DefectMix(75, 25).name == "E075G025"
    for text in ("100", "60/50", "a/b", "-10/110", ""):
        with pytest.raises(InputError, match="is not a percentage of ellipsoidal"):
            parse_mixes(text)


def test_the_configuration_simulates_over_inpainted_radiographs(castings: Path) -> None:
    config = experiment(castings, castings.parent, None).config
    (source,) = config.data.train
    assert (source.json_file, source.box_padding) == (str(castings), 3)
    assert source.simulate.real_defects == "inpaint"
    assert source.simulate.semi_axis.low == 3
    assert (config.train.samples_per_epoch, config.seed, config.data.val) == (80, 7, None)
    assert config.data.test.simulate is None
    # Without a number, as many as the configuration cuts: 100 of each class in each of six radiographs.
    assert experiment(castings, castings.parent, None, patches=None).config.train.samples_per_epoch == 1200


@pytest.mark.parametrize(("percent", "from_gan"), [(0, 0), (25, 2), (50, 5), (100, 10)])
def test_defects_come_in_the_shares_asked_for(two_series: Path, castings: Path, gan: Path, percent: int,
                                              from_gan: int) -> None:  # fmt: skip
    everything = experiment(two_series, castings.parent, gan)
    mix = DefectMix(100 - percent, percent)
    config = mix_config(everything, mix)
    # A quarter of 80 patches, 10 of each class; GAN samples for validation are none of the training's.
    validation = read_patches(config.data.val.patches)
    names, counts = np.unique(validation.origins, return_counts=True)
    expected = {"ellipsoid": 10 - from_gan, "gan": from_gan, "real": 10}
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {k: v for k, v in expected.items() if v}
    assert ((validation.origins == "real") == (validation.labels == 0)).all()
    if from_gan:
        training = read_patches(config.data.train[1].patches)
        assert len(training) == 40
        assert not set(training.files) & set(validation.files)

    drawn: PatchDataset = PatchTask(config).train_set
    patches = [drawn[k] for k in range(80)]
    fake = [bool((pixels > (GAN_LEVEL - 0.5) / 255).all()) for pixels, _, _ in patches]
    assert not any(fake[k] for k in range(0, 80, 2))  # no-defect patches come from radiographs
    # Of 40 defects; the standard deviation of 25 and 50 % is about 3.
    assert abs(sum(fake) - 40 * percent / 100) <= (0 if percent in (0, 100) else 9)


@pytest.mark.slow
def test_one_model_a_share_and_a_series_and_nothing_is_trained_twice(
    two_series: Path, castings: Path, gan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = experiment(two_series, castings.parent, gan)
    mixes, trained = parse_mixes("100/0,50/50"), []
    train = defect_mix_data.train

    def interrupted(config: object, resume: Path | None) -> tuple:
        trained.append((config.name, resume))
        if len(trained) == 2:
            folder, _ = train(config, resume)
            (folder / "metrics.json").unlink()  # as if stopped before the evaluation
            raise KeyboardInterrupt
        return train(config, resume)

    monkeypatch.setattr(defect_mix_data, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare_defect_mixes(everything, mixes, per_series=True)
    assert [row["name"] for row in json.loads((everything.out / "metrics.json").read_text())["models"]] == ["E100G000"]

    rows = compare_defect_mixes(everything, mixes, per_series=True)
    assert [row["name"] for row in rows] == ["E100G000*", "E100G000", "E050G050"]
    names, resumed = zip(*trained, strict=True)
    assert names == ("E100G000", "E050G050", "E050G050", "E100G000", "E100G000")
    assert [bool(resume) for resume in resumed] == [False, False, True, False, False]
    assert compare_defect_mixes(everything, mixes, per_series=True) == rows
    assert len(trained) == 5

    assert all(row["images"] == 6 and row["objects"] == rows[1]["objects"] > 0 for row in rows)
    # One detection in each radiograph, whichever model looked at it.
    results = json.loads((everything.out / "E100G000-series" / "detections.json").read_text())
    assert sorted(result["image_id"] for result in results) == [1, 2, 3, 4, 5, 6]
    parts = [read_coco(file) for file in sorted(everything.out.glob("E100G000-series/*/train.json"))]
    assert [len(part.images) for part in parts] == [3, 3]
    table = (everything.out / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| E100G000*", "| E100G000", "| E050G050"]
    assert all(0 <= row["validation_accuracy"] <= 1 for row in rows)
    assert (everything.out / "precision_recall_50.png").is_file()

    other = experiment(two_series, castings.parent, gan, seed=8)
    with pytest.raises(InputError, match=r"experiment\.json: is of another experiment; choose another --out"):
        compare_defect_mixes(other, mixes)


def test_a_series_without_training_radiographs_is_named(two_series: Path, castings: Path, tmp_path: Path) -> None:
    dataset = read_coco(two_series)
    write_coco(tmp_path / "odd.json", dataset.subset([1, 3, 5]))
    few = experiment(tmp_path / "odd.json", castings.parent, None, test=two_series)
    with pytest.raises(InputError, match=r"series\.json: series C0100 has no radiograph in .*odd\.json"):
        compare_defect_mixes(few, [DefectMix(100, 0)], per_series=True)


def test_origins_and_their_faults(castings: Path) -> None:
    training, test = origins_of(castings, None, castings, None, None)
    assert training == test == SourceConfig(json=str(castings), images=str(castings.parent))
    training, test = origins_of(None, None, None, None, (60, 40))
    assert (training.phantoms.n, test.phantoms.n) == (60, 40)
    assert training.phantoms.seed != test.phantoms.seed
    cases = [(None, None, None, None, None), (castings, None, castings, None, (2, 2))]
    cases += [(*(castings if k == given else None for k in range(4)), (2, 2)) for given in range(4)]
    for arguments in cases:
        with pytest.raises(InputError, match="give COCO_TRAIN with --test, or --phantoms"):
            origins_of(*arguments)
    with pytest.raises(InputError, match=r"castings\.json: give --test"):
        origins_of(castings, None, None, None, None)
    with pytest.raises(InputError, match="go with COCO_TRAIN"):
        origins_of(None, None, castings, None, None)


@pytest.mark.parametrize(
    "data", [{"window": {"kind": "percentiles"}}, {"patches": {"size": SIZE, "validation_fold": "1/4"}}]
)
def test_what_the_experiment_has_no_use_for_is_refused(castings: Path, data: dict) -> None:
    config = check_config({"model": {"name": "tiny_patches"}, "data": {"patches": {"size": SIZE}} | data})
    source = SourceConfig(json=str(castings), images=str(castings.parent))
    with pytest.raises(InputError, match=r"data\.window.*data\.patches\.validation_fold; leave both out"):
        defect_mix_config(config, source, source)


def test_a_gan_file_with_too_few_defects_is_named(two_series: Path, castings: Path, gan: Path) -> None:
    write_patches(gan, read_patches(gan).subset(np.arange(4)))
    with pytest.raises(InputError, match=r"gan\.npz: 4 patches of defects are too few; give at least 5"):
        compare_defect_mixes(experiment(two_series, castings.parent, gan), [DefectMix(0, 100)])


def test_radiographs_with_defects_alone_are_counted_where_a_gan_learns(
    castings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last two of six have none."""
    dataset = read_coco(castings)
    defects = [a for a in dataset.annotations if a["image_id"] in (2, 3, 4)]
    dataset = CocoDataset(dataset.images, defects, dataset.categories)
    write_coco(tmp_path / "some.json", dataset)
    monkeypatch.setattr(defect_mix_data, "REAL_PATCHES", 40)
    cut_from = []

    def cut(found: CocoDataset, *arguments: object) -> RadiographPatches:
        cut_from.append(found)
        return RadiographPatches(found, *arguments)

    monkeypatch.setattr(defect_mix_data, "RadiographPatches", cut)
    for least, held_out in ((4, False), (3, True)):
        monkeypatch.setattr(defect_mix_data, "LEAST_RADIOGRAPHS", least)
        everything = replace(experiment(tmp_path / "some.json", castings.parent, None), out=tmp_path / str(least))
        real, other = defect_mix_data._real_defects(everything)
        assert [a["bbox"] for a in cut_from[-1].annotations] == [a["bbox"] for a in defects]  # no margin on them
        assert len(set(read_patches(real).files)) == (1 if held_out else 3)
        assert (other is not None) == held_out
        assert not held_out or len(set(read_patches(other).files)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("least", [10, 5])
def test_a_gan_is_trained_on_real_defects_where_none_is_given(
    two_series: Path, castings: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    small = read_config("dcgan.yaml", ["model.size=16", "model.width=2", "model.latent=4", "data.patches.size=16",
                                       "train.samples_per_epoch=32", "train.batch_size=16", "train.epochs=2",
                                       "train.device=cpu", "train.validate_every=2"])  # fmt: skip
    monkeypatch.setattr(defect_mix_data, "read_config", lambda name: small)
    for name, value in {"REAL_PATCHES": 40, "GAN_PATCHES": 20, "LEAST_RADIOGRAPHS": least}.items():
        monkeypatch.setattr(defect_mix_data, name, value)
    training, validation = map(read_patches, gan_files(experiment(two_series, castings.parent, None)))
    assert (len(training), len(validation)) == (16, 4)
    assert set(training.origins) == set(validation.origins) == {"gan"}
    folder = two_series.parent / "exgy" / "gan"
    real = read_patches(folder / "real.npz")
    assert set(real.origins) == {"real"}
    assert set(real.labels) == {1}
    # Castings 2 to 6 have defects; radiographs of held-out patches are none of the training's.
    assert len(set(real.files)) == (5 if least > 5 else 3)
    assert (folder / "real_held_out.npz").is_file() == (least <= 5)
