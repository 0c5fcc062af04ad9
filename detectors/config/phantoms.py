"""Fields of simulated radiographs and volumes."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from data.schema import StrictModel
from data.synthesis.phantom import FORMER_STYLES, PHANTOM_KINDS
from data.volumes.ct_parts import PARTS
from data.volumes.ct_phantom import SMALLEST


def _known_kind(name: str) -> str:
    if name not in PHANTOM_KINDS:
        raise ValueError(f"choose one of {', '.join(PHANTOM_KINDS)}")
    return name


# The table of kinds says what there is, so that a new kind is one row.
PhantomKindName = Annotated[str, AfterValidator(_known_kind), Field(json_schema_extra={"enum": list(PHANTOM_KINDS)})]


class PhantomConfig(StrictModel):
    """Simulated radiographs, made on first use (see the command make-phantoms)."""

    former_values: ClassVar = {"style": FORMER_STYLES}

    kind: PhantomKindName = Field("castings", description="What is simulated.")
    n: int = Field(200, ge=1, description="Number of radiographs.")
    seed: int = Field(0, ge=0, description="Every radiograph depends on it and its own number alone.")
    bits: Literal[8, 16] = Field(8, description="Bits of a stored gray value.")
    style: Literal["realistic", "easy"] = Field(
        "realistic", description="'realistic' simulates film, part and defects fully; 'easy' is a set to start with."
    )
    family: str | None = Field(None, description="One family of parts, such as 'wheel'; all of them in turn if null.")
    size: tuple[int, int] | None = Field(None, description="Width and height in pixels; the kind's own if null.")
    folder: str = Field("datasets", description="Where the sets are kept.")
    fresh: bool = Field(
        False,
        description="Simulates a new radiograph for every training sample instead of keeping a set on disk; n is then "
        "the number of samples an epoch draws from this source.",
    )
    reuse: int = Field(
        1,
        ge=1,
        le=1000,
        description="With `fresh`, in how many samples of its epoch a radiograph is shown, each time augmented anew: "
        "to simulate one takes longer than to learn from it.",
    )
    twins: float = Field(
        0.0,
        ge=0,
        le=1,
        description="With `fresh`, the share of samples that show a radiograph's twin: the same part without defects.",
    )


class CTPhantomConfig(StrictModel):
    """Simulated computed tomography volumes with exact labels, made on first use."""

    kind: Literal["ct_castings", "ct_am"] = Field("ct_castings", description="What is simulated.")
    n: int = Field(24, ge=1, description="Number of volumes.")
    seed: int = Field(0, ge=0, description="Every volume depends on it and its own number alone.")
    families: list[str] | None = Field(
        None, description="Families of parts that take turns, such as 'bushing'; all of the kind if null."
    )
    size: tuple[int, int] = Field((160, 64), description="Side in y and x, and number of slices, in voxels.")
    quality: Literal["varied", "good", "normal", "poor"] = Field(
        "varied", description="Grades of noise, beam hardening and rings: each drawn, or all the same."
    )
    projections: int | None = Field(
        None, ge=2, description="Angles over half a turn; 1.25 a voxel of the side if null."
    )
    pores: int | None = Field(
        None, ge=1, description="Pores to place in each volume; one in 12,000 voxels of the part, varied, if null."
    )
    exposure: float = Field(1.0, gt=0, description="Photons of a projection, relative to those of the quality.")
    cone: float = Field(
        0.0, ge=0, le=1, description="How far a cone beam degrades slices away from the middle one: gray values fade."
    )
    folder: str = Field("datasets", description="Where the sets are kept.")

    @field_validator("kind")
    @classmethod
    def _known_parts(cls, value: str) -> str:
        if value not in PARTS:
            raise ValueError(f"choose one of {', '.join(PARTS)}")
        return value

    @model_validator(mode="after")
    def _known_families(self) -> Self:
        for family in self.families or ():
            if family not in PARTS[self.kind]:
                raise ValueError(f"family '{family}' is unknown; {self.kind} has {', '.join(PARTS[self.kind])}")
        if min(self.size) < SMALLEST:
            raise ValueError(f"size {list(self.size)}: give side and slices, {SMALLEST} voxels each or more")
        return self
