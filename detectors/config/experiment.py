"""The experiment's schema: what a YAML file may say."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, InstanceOf, SerializeAsAny, field_validator

from data.patches import PatchConfig
from data.schema import StrictModel
from data.transforms import AugmentationConfig
from data.volumes.transforms import VolumeDataConfig
from detectors.config.phantoms import PhantomConfig
from detectors.config.source import SourceConfig
from detectors.config.window_config import WindowConfig
from detectors.schema import ModelSection

__all__ = ["DataConfig", "ExperimentConfig", "PhantomConfig", "ScheduleConfig", "SourceConfig", "TrainConfig"]

Beta = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(StrictModel):
    """Sources, and what happens to a radiograph before the model sees it."""

    train: list[SourceConfig] = Field(
        [SourceConfig(phantoms=PhantomConfig())], min_length=1, description="One or several training sources."
    )
    val: SourceConfig | None = Field(None, description="Chooses the best checkpoint and the threshold.")
    test: SourceConfig | None = Field(
        None, description="Looked at once, at the end; without it the run ends with an evaluation on `val`."
    )
    window: WindowConfig = Field(
        WindowConfig(),
        description="Which gray levels become black and white; chosen once, saved with the run, and repeated.",
    )
    bit_depth: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Bits of a stored gray level where the files do not state them rightly, such as 12 in a PNG of 16.",
    )
    augmentation: AugmentationConfig = Field(AugmentationConfig(), description="Random changes of training samples.")
    regions: int | None = Field(
        None,
        ge=1,
        description="For segmentation: how many crops are cut once from each training source and then augmented (the "
        "paper on welds: 360); if null, every sample is a crop of its own.",
    )
    patches: PatchConfig = Field(PatchConfig(), description="How patch classifiers get their patches.")
    volumes: VolumeDataConfig = Field(
        VolumeDataConfig(), description="Patches and gray values of computed tomography volumes."
    )
    workers: int = Field(
        2, ge=0, le=1024, description="Processes that prepare samples; 0 prepares them in the main one."
    )
    cache: bool = Field(False, description="Keep all training radiographs in memory, 1 or 2 bytes a pixel.")

    @field_validator("window", mode="before")
    @classmethod
    def _no_window(cls, value: object) -> object:
        """Take null, which once meant the full depth, as the default: the same but for radiographs it left black."""
        return {} if value is None else value

    @field_validator("train", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class ScheduleConfig(StrictModel):
    """The learning rate over time: a linear warm-up, then one of three courses."""

    former_names: ClassVar = {"final": "min_lr_factor"}

    kind: Literal["cosine", "step", "constant"] = Field("cosine", description="The course after the warm-up.")
    warmup_steps: int = Field(100, ge=0, description="Optimizer steps of the linear warm-up.")
    min_lr_factor: float = Field(0.01, ge=0, le=1, description="Cosine: the last learning rate over the first.")
    milestones: list[int] = Field([], description="Step: the optimizer steps at which the rate falls.")
    gamma: float = Field(0.1, gt=0, le=1, description="Step: the factor at each milestone.")


DetectionMetric = Literal[
    "ap50", "ap30", "ap_center", "sensitivity_at_half_call", "sensitivity_at_1_call", "sensitivity_at_2_calls"
]


class TrainConfig(StrictModel):
    """How a model is trained."""

    former_names: ClassVar = {"ema": "ema_decay"}

    epochs: int = Field(10, ge=1, description="Epochs; a validation can follow each.")
    samples_per_epoch: int | None = Field(
        None, ge=1, description="Samples drawn in an epoch; if null, each radiograph `repeat` times."
    )
    batch_size: int = Field(2, ge=1, description="Samples in a batch of one process.")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with momentum, or AdamW.")
    lr: float = Field(0.01, gt=0, description="The highest learning rate, after the warm-up.")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD: momentum.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="AdamW: decay of its two averages.")
    weight_decay: float = Field(1e-4, ge=0, description="Of weights; biases and norms have none.")
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="The learning rate over time.")
    clip_norm: float | None = Field(10.0, gt=0, description="Largest norm of the gradients; null clips nothing.")
    precision: Literal["no", "fp16", "bf16", "auto"] = Field(
        "no",
        description="Mixed precision of training steps; validation, test and prediction are in float32. 'auto' is bf16 "
        "where the device computes in it, GPU or CPU, else no.",
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="Decay of the averaged weights that are validated and saved; null keeps none."
    )
    best_by: DetectionMetric | None = Field(
        None,
        description="The validation metric of a detector whose highest value makes best.ckpt; ap50 if null. On parts "
        "never seen, what counts is sensitivity at a number of false calls.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs between validations; the last epoch always has one.")
    device: Literal["auto", "cpu"] = Field("auto", description="'auto' takes the GPU if there is one.")

    @field_validator("precision", mode="before")
    @classmethod
    def _yaml_no(cls, value: object) -> object:
        """Take back what YAML makes of the bare word `no`."""
        return "no" if value is False else value


class ExperimentConfig(StrictModel):
    """One experiment: what one YAML file describes."""

    name: str = Field("experiment", min_length=1, description="Folder of its runs within `output`; the file's name.")
    seed: int = Field(0, ge=0, lt=2**32, description="Of every random number: weights, samples, order, noise.")
    output: Path = Field(Path("runs"), description="Folder of all runs.")
    model: SerializeAsAny[InstanceOf[ModelSection]] = Field(description="The model; its fields depend on its name.")
    data: DataConfig = Field(DataConfig(), description="Radiographs, labels and how samples are drawn.")
    train: TrainConfig = Field(TrainConfig(), description="How the model is trained.")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts or not value.isprintable():
            raise ValueError("must name a folder within 'output': a relative path without '..'")
        return value

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that YAML and JSON can hold and `read_config` reads back."""
        return self.model_dump(mode="json", by_alias=True)
