"""Training and validation data of defect mixes (Mery 2020, 3.3): ellipsoids and GAN samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.console import console
from data.errors import InputError
from data.patch_files import PatchSet, join_patches, read_patches, write_patches
from data.patch_windows import DEFECT, NEGATIVE
from data.patches import RadiographPatches
from data.simulated_patches import SimulatedPatches
from data.synthesis.simulation_config import SimulationConfig
from detectors.config.experiment import ExperimentConfig, PhantomConfig, SourceConfig
from detectors.config.files import read_config
from detectors.config.sources import load_source, load_training_source
from detectors.runs.sample_gan import sample_run
from detectors.training import train

DEFECTS_AN_IMAGE = (8, 16)  # simulated at once where the configuration says nothing: few patches show the same one
VALIDATION_SHARE = 4  # one validation patch for so many training patches: the paper's 80 : 20
MOST_VALIDATION = 1000  # patches of a class
GAN_PATCHES = 10_000
REAL_PATCHES = 2000  # of defects, that a GAN is trained with
LEAST_RADIOGRAPHS = 10  # with defects, of which some are held out to evaluate it on
OTHER_SEED = 1_000_003  # added to the run's seed where patches must not be those of the training


class DefectMix(NamedTuple):
    """Percentages of ellipsoidal and of GAN defects, 100 together."""

    ellipsoidal: int
    gan: int

    @property
    def name(self) -> str:
        """The paper's name, such as E075G025."""
        return f"E{self.ellipsoidal:03d}G{self.gan:03d}"


@dataclass(frozen=True)
class Experiment:
    """What all models of one experiment have in common.

    Attributes:
        config: of `defect_mix_config`: one training source, radiographs with simulated defects, and test radiographs;
            the patches of an epoch are `train.samples_per_epoch`.
        out: folder of the results.
        gan: the run of a GAN or a file of its patches; None to train one on the real defects.
        gan_epochs: how long that takes; what dcgan.yaml says if None.

    """

    config: ExperimentConfig
    out: Path
    gan: Path | None = None
    gan_epochs: int | None = None

    @property
    def source(self) -> SourceConfig:
        """The training radiographs, with simulated defects."""
        return self.config.data.train[0]

    @property
    def test(self) -> SourceConfig:
        """The test radiographs, with real defects. Raises InputError without any."""
        if self.config.data.test is None:
            raise InputError(f"{self.config.name}: has no data.test; name radiographs with real defects")
        return self.config.data.test

    @property
    def simulation(self) -> SimulationConfig:
        """How defects are simulated."""
        return self.source.simulate or SimulationConfig()


def parse_mixes(text: str) -> list[DefectMix]:
    """Return the mixes of a list such as "100/0,50/50". Raises InputError for anything else."""
    mixes = []
    for part in text.split(","):
        numbers = [number.strip() for number in part.split("/")]
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers) or sum(map(int, numbers)) != 100:
            raise InputError(
                f"--mixes {text!r}: {part.strip()!r} is not a percentage of ellipsoidal and one of GAN defects, 100 % "
                "together, such as 75/25"
            )
        mixes.append(DefectMix(*map(int, numbers)))
    return list(dict.fromkeys(mixes))


def origins_of(
    coco_train: Path | None,
    images: Path | None,
    test: Path | None,
    test_images: Path | None,
    phantoms: tuple[int, int] | None,
) -> tuple[SourceConfig, SourceConfig]:
    """Return the training and test radiographs of COCO files, or the numbers of simulated castings asked for.

    Raises InputError for both or neither, and for training radiographs without test ones.
    """
    of_files = any(path is not None for path in (coco_train, images, test, test_images))
    if of_files == (phantoms is not None):
        raise InputError("give COCO_TRAIN with --test, or --phantoms 60 40 without them")
    if phantoms is not None:
        kinds = [PhantomConfig(n=n, seed=seed, style="easy") for n, seed in zip(phantoms, (1, 3), strict=True)]
        return SourceConfig(phantoms=kinds[0]), SourceConfig(phantoms=kinds[1])
    if coco_train is None:
        raise InputError("--test and --images go with COCO_TRAIN, the COCO file of the training radiographs; give it")
    if test is None:
        raise InputError(f"{coco_train}: give --test, the COCO file of other radiographs to evaluate the models on")
    folder = images or coco_train.parent
    test_folder = test_images or images or test.parent
    return (
        SourceConfig(json=str(coco_train), images=str(folder)),
        SourceConfig(json=str(test), images=str(test_folder)),
    )


def defect_mix_config(
    config: ExperimentConfig,
    train_source: SourceConfig,
    test_source: SourceConfig,
    epochs: int | None = None,
    patches: int | None = None,
    seed: int | None = None,
) -> ExperimentConfig:
    """Return the configuration of a patch classifier, set up for the experiment.

    Margin and simulation are those of the configuration's first training source; without `simulate` the defaults,
    but 8 to 16 defects a radiograph. Real defects of the training radiographs are inpainted. `patches` are those of
    an epoch, both classes together. Raises InputError for a model that is no patch classifier, a window and a
    validation fold.
    """
    if config.model.task != "patches":
        raise InputError(
            f"{config.name}: '{config.model.name}' is no patch classifier; give xnet.yaml, xnet_ii.yaml or xnet_v2.yaml"
        )
    if config.data.window.kind not in ("auto", "full") or config.data.patches.validation_fold is not None:
        raise InputError(
            f"{config.name}: patches of a GAN know no data.window, and validation is on patches made for it, not on "
            "data.patches.validation_fold; leave both out"
        )
    given = config.data.train[0]
    simulate = given.simulate or SimulationConfig(per_image=DEFECTS_AN_IMAGE)
    changes = {"simulate": simulate.model_copy(update={"real_defects": "inpaint"}), "box_padding": given.box_padding}
    if test_source.origin.simulated:  # their boxes are tight, as those of simulated defects are
        test_source = test_source.model_copy(update={"box_padding": given.box_padding})
    sources = {"train": [train_source.model_copy(update=changes)], "val": None, "test": test_source}
    if patches is None and config.train.samples_per_epoch is None:
        patches = 2 * config.data.patches.per_image * len(load_source(train_source)[0].images)
    settings = {"epochs": epochs, "samples_per_epoch": patches}
    training = config.train.model_copy(update={name: value for name, value in settings.items() if value is not None})
    data = config.data.model_copy(update=sources)
    return config.model_copy(update={"data": data, "train": training, "seed": config.seed if seed is None else seed})


def mix_config(experiment: Experiment, mix: DefectMix) -> ExperimentConfig:
    """Return the configuration of one model, having written its validation patches and those of the GAN."""
    config, source = experiment.config, experiment.source
    if mix.ellipsoidal:
        sources = [source.model_copy(update={"weight": float(mix.ellipsoidal)})]
    else:  # without defects: the no-defect patches alone come from here
        nothing = experiment.simulation.model_copy(update={"share": 0.0})
        sources = [source.model_copy(update={"simulate": nothing})]
    if mix.gan:
        sources.append(SourceConfig(patches=str(gan_files(experiment)[0]), weight=float(mix.gan)))
    validation = experiment.out / mix.name / "validation.npz"
    if not validation.is_file():
        write_patches(validation, validation_patches(experiment, mix))
    data = config.data.model_copy(update={"train": sources, "val": SourceConfig(patches=str(validation))})
    return config.model_copy(update={"name": mix.name, "output": experiment.out, "data": data})


def validation_patches(experiment: Experiment, mix: DefectMix) -> PatchSet:
    """Return as many no-defect as defect patches, the latter mixed, of the origins ellipsoid and gan."""
    config = experiment.config
    samples = config.train.samples_per_epoch or 2 * MOST_VALIDATION
    count = min(max(samples // VALIDATION_SHARE // 2, 1), MOST_VALIDATION)
    from_gan = round(count * mix.gan / 100)
    dataset, images = load_training_source(experiment.source)
    seed = config.seed + OTHER_SEED
    drawn = SimulatedPatches(
        dataset, images, config.data.patches, experiment.simulation, experiment.source.box_padding, seed
    ).sample_set(seed, per_class=count)
    ellipsoids = np.flatnonzero(drawn.labels == DEFECT)[: count - from_gan]
    parts = [drawn.subset(np.r_[np.flatnonzero(drawn.labels == NEGATIVE), ellipsoids])]
    if from_gan:
        made = read_patches(gan_files(experiment)[1], config.data.patches.size)
        parts.append(made.subset(np.arange(from_gan) % len(made)))
    return join_patches(parts)


def gan_files(experiment: Experiment) -> tuple[Path, Path]:
    """Return the files of GAN patches for training and for validation, made at first use.

    They are four fifths and one fifth of the patches of `experiment.gan`.
    """
    folder = experiment.out / "gan"
    files = folder / "train.npz", folder / "validation.npz"
    if not all(file.is_file() for file in files):
        made = _gan_patches(experiment, folder)
        made = made.subset(np.flatnonzero(made.labels == DEFECT))
        held_out = np.arange(len(made)) % (VALIDATION_SHARE + 1) == VALIDATION_SHARE
        if not held_out.any():
            least = VALIDATION_SHARE + 1
            raise InputError(f"{experiment.gan}: {len(made)} patches of defects are too few; give at least {least}")
        for file, chosen in zip(files, (~held_out, held_out), strict=True):
            write_patches(file, made.subset(chosen))
    return files


def _gan_patches(experiment: Experiment, folder: Path) -> PatchSet:
    """Return patches out of the GAN, which is trained first where none is given."""
    gan, seed = experiment.gan, experiment.config.seed
    if gan is None:
        real, held_out = _real_defects(experiment)
        bits = 8 * read_patches(real).pixels.dtype.itemsize
        return sample_run(_trained_gan(experiment, real, held_out), GAN_PATCHES, seed, bits)
    if gan.suffix == ".npz":
        return read_patches(gan, experiment.config.data.patches.size)
    return sample_run(gan, GAN_PATCHES, seed)


def _real_defects(experiment: Experiment) -> tuple[Path, Path | None]:
    """Return files of patches of the training radiographs' real defects: to train a GAN, and to evaluate it on.

    The latter are of the last fifth of the radiographs with defects, by name; there is none under `LEAST_RADIOGRAPHS`.
    """
    config, folder = experiment.config, experiment.out / "gan"
    dataset, images = load_training_source(experiment.source)
    drawn = RadiographPatches(dataset, images, config.data.patches).sample_set(config.seed, per_class=REAL_PATCHES)
    defects = drawn.subset(drawn.labels == DEFECT)
    names, index = np.unique(defects.files, return_inverse=True)
    last = index >= len(names) - (max(len(names) // 5, 2) if len(names) >= LEAST_RADIOGRAPHS else 0)
    write_patches(folder / "real.npz", defects.subset(~last))
    if not last.any():
        return folder / "real.npz", None
    write_patches(folder / "real_held_out.npz", defects.subset(last))
    return folder / "real.npz", folder / "real_held_out.npz"


def _trained_gan(experiment: Experiment, real: Path, held_out: Path | None) -> Path:
    """Return the run of a GAN trained on patches, the newest weights where there are none to evaluate it on."""
    config, gan = experiment.config, read_config("dcgan.yaml")
    sources = {
        "train": [SourceConfig(patches=str(real))],
        "val": None if held_out is None else SourceConfig(patches=str(held_out)),
        "test": None,
        "workers": config.data.workers,
    }
    training = gan.train.model_copy(update={"epochs": experiment.gan_epochs or gan.train.epochs})
    changes = {"data": gan.data.model_copy(update=sources), "train": training, "seed": config.seed}
    console.print("training a GAN on patches of the real defects")
    return finished_run(gan.model_copy(update=changes | {"output": experiment.out / "gan"}))


def finished_run(config: ExperimentConfig) -> Path:
    """Return the run of a configuration: the one that is done, the rest of one that was interrupted, or a new one."""
    runs = sorted(file.parent for file in (config.output / config.name).glob("*/last.ckpt"))
    done = [run for run in runs if (run / "metrics.json").is_file()]
    if done:
        console.print(f"done already: {done[-1]}")
        return done[-1]
    return train(config, runs[-1] if runs else None)[0]
