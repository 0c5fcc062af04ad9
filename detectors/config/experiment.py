"""The experiment's schema: what a YAML file in configs/ may say."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, InstanceOf, SerializeAsAny, field_validator, model_validator

from data.patches import PatchConfig
from data.schema import StrictModel
from data.synthesis.phantom import FORMER_STYLES, PHANTOM_KINDS
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig
from detectors.schema import ModelSection

Beta = Annotated[float, Field(ge=0, lt=1)]


def _known_kind(name: str) -> str:
    if name not in PHANTOM_KINDS:
        raise ValueError(f"choose one of {', '.join(PHANTOM_KINDS)}")
    return name


# The table of kinds says what there is, so that a new kind is one row.
PhantomKindName = Annotated[str, AfterValidator(_known_kind), Field(json_schema_extra={"enum": list(PHANTOM_KINDS)})]


class PhantomConfig(StrictModel):
    """Simulated radiographs, made on first use (see tools/make_phantom.py) and kept in `folder`."""

    former_values: ClassVar = {"style": FORMER_STYLES}

    kind: PhantomKindName = "castings"
    n: int = Field(200, ge=1)
    seed: int = Field(0, ge=0)
    bits: Literal[8, 16] = 8
    style: Literal["realistic", "easy"] = "realistic"
    family: str | None = None
    size: tuple[int, int] | None = None
    folder: str = "datasets"


class SourceConfig(StrictModel):
    """Where radiographs and their labels come from; one of five origins.

    `json` is a COCO file, and `images` the folder that its file names start from (the JSON's own folder if not
    given). `phantoms` are simulated on first use. `masks` is a folder of binary masks, one a radiograph of the
    folder `images`. `patches` is a patch file or a folder of patches sorted by class, for patch classifiers.
    `images` alone is a folder of radiographs without defects: negatives, or what `simulate` starts from.
    `weight` is the share of this source among several in training. `box_margin` pixels are added to every side
    of every box: annotators draw loose boxes, simulated ones are tight. `repeat` draws every radiograph
    that many times an epoch. `simulate` puts simulated defects into the radiographs of a training source, for boxes,
    patches and masks alike; the margin is then that of the simulated boxes, and boxes drawn by annotators stay as
    they are.
    """

    json_file: str | None = Field(None, alias="json")
    images: str | None = None
    phantoms: PhantomConfig | None = None
    masks: str | None = None
    patches: str | None = None
    weight: float = Field(1.0, gt=0)
    box_margin: float = Field(0.0, ge=0)
    keep_negatives: bool = True
    repeat: int = Field(1, ge=1)
    simulate: SimulationConfig | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "SourceConfig":
        origins = (self.json_file, self.phantoms, self.masks, self.patches)
        count = sum(origin is not None for origin in origins)
        if count > 1 or (count == 0 and self.images is None):
            raise ValueError(
                "give one of 'json' (a COCO file), 'phantoms', 'masks' and 'patches', or 'images' alone for a folder "
                "of radiographs without defects"
            )
        if self.images is not None and (self.phantoms is not None or self.patches is not None):
            raise ValueError(
                "'images' goes with 'json' or 'masks', or alone: 'phantoms' and 'patches' bring their own; "
                "set those to null"
            )
        if self.masks is not None and self.images is None:
            raise ValueError("'masks' needs 'images', the folder of their radiographs")
        return self


class WindowConfig(StrictModel):
    """An explicit stretch of gray values between two percentiles of each radiograph."""

    low: float = Field(0.5, ge=0, lt=100)
    high: float = Field(99.5, gt=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> "WindowConfig":
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be under high ({self.high})")
        return self


class DataConfig(StrictModel):
    """Sources and what happens to a radiograph before the model sees it.

    `val` chooses the best checkpoint and the threshold; `test` is looked at once, at the end. Without `test`
    the run ends with an evaluation on `val`. `patches` says how patch classifiers get theirs.
    `regions`, for segmentation, is the number of regions of the crop's size that are cut once from each
    training source, around defects and elsewhere, and then augmented (the paper on welds: 360); without it every
    sample is a crop of its own.
    """

    train: list[SourceConfig] = [SourceConfig(phantoms=PhantomConfig())]
    val: SourceConfig | None = None
    test: SourceConfig | None = None
    window: WindowConfig | None = None
    augmentation: AugmentationConfig = AugmentationConfig()
    regions: int | None = Field(None, ge=1)
    patches: PatchConfig = PatchConfig()
    workers: int = Field(2, ge=0)
    cache: bool = False

    @field_validator("train", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value


class ScheduleConfig(StrictModel):
    """The learning rate over time: linear warm-up, then cosine to `final` or steps of `gamma`."""

    kind: Literal["cosine", "step", "constant"] = "cosine"
    warmup_steps: int = Field(100, ge=0)
    final: float = Field(0.01, ge=0, le=1)
    milestones: list[int] = []
    gamma: float = Field(0.1, gt=0, le=1)


class TrainConfig(StrictModel):
    """How a model is trained. `samples_per_epoch` defaults to one draw of every radiograph.

    `momentum` is of SGD, `betas` are those of AdamW.
    """

    epochs: int = Field(10, ge=1)
    samples_per_epoch: int | None = Field(None, ge=1)
    batch_size: int = Field(2, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float | None = Field(10.0, gt=0)
    precision: Literal["no", "fp16", "bf16"] = "no"
    ema: float | None = Field(None, gt=0, lt=1)
    validate_every: int = Field(1, ge=1)
    device: Literal["auto", "cpu"] = "auto"


class ExperimentConfig(StrictModel):
    """One experiment: what one YAML file of configs/ describes."""

    name: str = "experiment"
    seed: int = Field(0, ge=0)
    output: Path = Path("runs")
    model: SerializeAsAny[InstanceOf[ModelSection]]
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    def as_dict(self) -> dict:
        """Return plain values that YAML and JSON can hold and `read_config` reads back."""
        return self.model_dump(mode="json", by_alias=True)
