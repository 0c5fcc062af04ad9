"""Where radiographs and their labels come from: one row of `SourceConfig` for every origin of data."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from data.schema import StrictModel
from data.synthesis.simulation_config import SimulationConfig
from detectors.config.phantoms import CTPhantomConfig, PhantomConfig


@dataclass(frozen=True)
class Origin:
    """What the toolkit has to know of one kind of data; the annotation of a field of `SourceConfig`.

    A new origin is one file that reads it and one such field: validation, overrides, `--data`, training and
    evaluation ask this row.

    Attributes:
        reader: "module:function". For radiographs the function takes (source, categories) and returns
            (CocoDataset, folder of the images); for patches (source, size), and returns a PatchSet. Imported at
            first use, since a schema reads no data.
        hint: words for error messages, such as "a COCO file".
        training: "module:function" that takes (source, configuration) and returns the training samples, of data that
            are never stored and have no reader; None where samples are drawn from what is read.
        content: what a task gets of it; a task refuses content that it does not know.
        images: whether the field `images` goes with it: the data bring their own, may have one, or need one.
        names_categories: whether the data say what their defects are called.
        simulated: whether all of it is simulated: boxes are tight and not drawn by hand, and no real part is in it.
        suffixes: of the files that `--data` takes for this origin.
        folder: whether `--data` takes a folder for this origin, and with `--images` or without.

    """

    reader: str
    hint: str
    training: str | None = None
    content: Literal["radiographs", "patches", "volumes"] = "radiographs"
    images: Literal["own", "optional", "required"] = "own"
    names_categories: bool = True
    simulated: bool = False
    suffixes: tuple[str, ...] = ()
    folder: Literal["never", "alone", "with images"] = "never"

    def read(self, source: "SourceConfig", *arguments: Any) -> Any:
        """Return the data of a source, by this row's reader."""
        return _function(self.reader)(source, *arguments)

    def training_samples(self, source: "SourceConfig", config: Any) -> Any:
        """Return the training data set of a source that stores nothing, None where samples are drawn from what is read.

        `config` is the whole `ExperimentConfig`.
        """
        return _function(self.training)(source, config) if self.training else None


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


FRESH_PHANTOMS = Origin(
    "detectors.config.sources:read_no_radiographs",
    "phantoms.fresh",
    training="detectors.config.sources:fresh_phantoms",
    simulated=True,
)
"""The row of `phantoms` whose field `fresh` is set: nothing is stored, and every training sample is a new one."""


class SourceConfig(StrictModel):
    """Where radiographs and their labels come from: exactly one origin, and how samples are drawn from it."""

    former_names: ClassVar = {"box_margin": "box_padding"}

    json_file: Annotated[
        str | None,
        Origin("detectors.config.sources:read_json", "a COCO file", images="optional", suffixes=(".json",)),
    ] = Field(None, alias="json", description="A COCO detection file.")
    phantoms: Annotated[
        PhantomConfig | None,
        Origin("detectors.config.sources:read_phantoms", "simulated radiographs", simulated=True),
    ] = Field(None, description="Radiographs that are simulated on first use.")
    masks: Annotated[
        str | None,
        Origin("detectors.config.sources:read_masks", "a folder of masks", images="required", folder="with images"),
    ] = Field(None, description="A folder of binary masks, one for each radiograph of the folder `images`.")
    patches: Annotated[
        str | None,
        Origin(
            "detectors.config.sources:read_stored_patches",
            "a patch file or folder",
            content="patches",
            names_categories=False,
            suffixes=(".npz",),
            folder="alone",
        ),
    ] = Field(None, description="A patch file, or a folder of patches sorted by class, for patch classifiers.")
    volumes: Annotated[
        str | None,
        Origin(
            "detectors.config.volume_sources:read_volumes",
            "a manifest of computed tomography volumes",
            content="volumes",
            names_categories=False,
            suffixes=(".json",),
            folder="alone",
        ),
    ] = Field(None, description="A manifest of labeled volumes (volumes.json), or the folder that holds one.")
    ct_phantoms: Annotated[
        CTPhantomConfig | None,
        Origin(
            "detectors.config.volume_sources:read_ct_phantoms",
            "simulated volumes",
            content="volumes",
            names_categories=False,
            simulated=True,
        ),
    ] = Field(None, description="Computed tomography volumes that are simulated on first use.")
    images: Annotated[
        str | None,
        Origin(
            "detectors.config.sources:read_images",
            "a folder of radiographs without defects",
            images="required",
            names_categories=False,
        ),
    ] = Field(
        None,
        description="The folder that file names start from (the JSON's own folder if null). Alone: a folder of "
        "radiographs without defects, as negatives or for `simulate`.",
    )
    weight: float = Field(1.0, gt=0, description="Share of this source among several in training.")
    box_padding: float = Field(
        0.0,
        ge=0,
        description="Pixels added to every side of every box: annotators draw loose boxes, simulated ones are tight. "
        "With `simulate` the padding is that of the simulated boxes, and annotated ones stay as they are.",
    )
    keep_negatives: bool = Field(True, description="Whether radiographs without a defect are trained on.")
    repeat: int = Field(1, ge=1, description="How many times an epoch draws every radiograph.")
    simulate: SimulationConfig | None = Field(
        None, description="Puts simulated defects into the radiographs of a training source, new ones in every epoch."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in MAIN_ORIGINS if getattr(self, FIELD_OF[name]) is not None]
        if len(given) > 1 or (not given and self.images is None):
            main = ", ".join(f"'{name}' ({ORIGINS[name].hint})" for name in MAIN_ORIGINS)
            raise ValueError(f"give one of {main}, or 'images' alone for {ORIGINS['images'].hint}")
        if self.images is not None and self.origin.images == "own":
            fitting = [f"'{name}'" for name in MAIN_ORIGINS if ORIGINS[name].images != "own"]
            raise ValueError(
                f"'images' goes with {' or '.join(fitting)}, or alone: '{given[0]}' brings its own; set that to null"
            )
        if self.images is None and self.origin.images == "required":
            raise ValueError(f"'{given[0]}' needs 'images', the folder of their radiographs")
        return self

    @property
    def origin_name(self) -> str:
        """The field that says where the data come from: a key of `ORIGINS`."""
        return next((name for name in MAIN_ORIGINS if getattr(self, FIELD_OF[name]) is not None), "images")

    @property
    def origin(self) -> Origin:
        """What the toolkit knows of this source's kind of data."""
        fresh = self.phantoms is not None and self.phantoms.fresh
        return FRESH_PHANTOMS if fresh else ORIGINS[self.origin_name]

    @property
    def location(self) -> str:
        """The path that the origin is given by, as words for messages."""
        return str(getattr(self, FIELD_OF[self.origin_name]))

    def replaced_by(self, json_file: Path, images: Path) -> Self:
        """Return a source that draws in the same way from a COCO file and the folder of its images."""
        others = {FIELD_OF[name]: None for name in MAIN_ORIGINS}
        return self.model_copy(update=others | {"json_file": str(json_file), "images": str(images)})


def _rows() -> dict[str, tuple[str, Origin]]:
    """Return the origin and the attribute of every field of `SourceConfig` that declares one, by its name in YAML."""
    found = {}
    for attribute, field in SourceConfig.model_fields.items():
        for entry in field.metadata:
            if isinstance(entry, Origin):
                found[field.alias or attribute] = (attribute, entry)
    return found


ORIGINS: dict[str, Origin] = {name: origin for name, (_, origin) in _rows().items()}
FIELD_OF: dict[str, str] = {name: attribute for name, (attribute, _) in _rows().items()}
MAIN_ORIGINS: tuple[str, ...] = tuple(name for name in ORIGINS if name != "images")


def is_other_origin(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether the fields `after` name another origin of data than the fields `before`."""
    named = [name for name in MAIN_ORIGINS if name in after]
    if not named and "images" in after:  # a folder of radiographs, where the data before brought their own
        return any(before.get(name) is not None for name in MAIN_ORIGINS if ORIGINS[name].images == "own")
    return any(old in before for new in named for old in MAIN_ORIGINS if old != new)


def source_at(path: Path, images: Path | None, of_volumes: bool = False) -> SourceConfig:
    """Return the source that a path stands for, with the folder of its images if one is given.

    Of origins that a path fits, the first one counts; what fits none is taken for a COCO file, or for a manifest where
    the path is `of_volumes`.
    """
    folder = "with images" if images is not None else "alone"
    fitting = [name for name in MAIN_ORIGINS if not of_volumes or ORIGINS[name].content == "volumes"]
    for name in fitting:
        origin = ORIGINS[name]
        if (path.is_dir() and origin.folder == folder) or (not path.is_dir() and path.suffix in origin.suffixes):
            break
    else:
        name = fitting[0]
    beside = images if ORIGINS[name].images != "own" else None
    return SourceConfig.model_validate({name: str(path), "images": str(beside) if beside else None})
