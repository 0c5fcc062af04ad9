"""What a configuration says about simulated defects."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from data.schema import StrictModel
from data.synthesis.placement import Distribution


def _counts(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range {pair} is upside down; give (least, most)")
    return pair


def _sigmas(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range {pair} is upside down; give (low, high)")
    return pair


Fraction = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_counts)]
Sigma = Annotated[float, Field(ge=0)]
SigmaRange = Annotated[tuple[Sigma, Sigma], AfterValidator(_sigmas)]


class AttenuationConfig(StrictModel):
    """The attenuation model: how gray values follow from thickness."""

    former_names: ClassVar = {"xmax": "max_thickness_mm"}

    mu: float = Field(gt=0, description="Linear attenuation coefficient in 1/mm.")
    max_thickness_mm: float = Field(gt=0, description="Thickness in mm at which the radiograph is darkest.")


class SimulationConfig(StrictModel):
    """Which defects are simulated, how many and how strong.

    A cavity that would not show against the noise and the slope of its background is made stronger, up to twice
    `contrast.high`, or left out. Defects stay on the test object.
    """

    former_names: ClassVar = {
        "share": "image_fraction", "half_axis": "semi_axis", "flatness": "axis_ratio", "sizes_margin": "sizes_padding",
        "clusters": "cluster_fraction", "patch_share": "patch_fraction", "irregularity": "depth_noise",
        "law": "attenuation", "box_share": "mask_threshold", "near_walls": "edge_bias",
    }  # fmt: skip

    shapes: Literal["ellipsoids", "varied"] = Field(
        "ellipsoids",
        description="ellipsoids, as the fields below describe them; or varied: pores, cavities, chains, sponges, "
        "branching shrinkage and cracks of 5 to 200 px, whose strength is drawn as a contrast-to-noise ratio against "
        "the radiograph's local noise, from barely visible to plain. Of the fields below only image_fraction, "
        "per_image, real_defects and category matter then.",
    )
    image_fraction: Fraction = Field(1.0, description="Fraction of the radiographs that get defects.")
    per_image: CountRange = Field((2, 8), description="Least and largest number of defects in each of them.")
    semi_axis: Distribution = Field(
        Distribution(low=3.5, high=20.0),
        description="Longest semi-axis of an ellipsoid in pixels, or in mm where `pixel_mm` is given.",
    )
    axis_ratio: tuple[Ratio, Ratio] = Field(
        (0.4, 1.0), description="Range of the shorter semi-axes, relative to the longest one."
    )
    pixel_mm: float | None = Field(None, gt=0, description="Side of a pixel in mm.")
    sizes_from: str | None = Field(None, description="COCO file whose boxes give the sizes, instead of `semi_axis`.")
    sizes_padding: float = Field(
        0.0, ge=0, description="Pixels that the boxes of `sizes_from` leave around a defect on each side."
    )
    cluster_fraction: Fraction = Field(
        0.35, description="Fraction of the defects that are unions of 2 to 4 ellipsoids."
    )
    patches_from: str | None = Field(
        None, description="File or folder of patches, real or generated, whose defects give shapes."
    )
    patch_fraction: Fraction = Field(0.5, description="Fraction of the defects with shapes from `patches_from`.")
    depth_noise: float = Field(
        0.15, ge=0, le=1, description="Relative standard deviation of the depth inside a defect."
    )
    contrast: Distribution = Field(
        Distribution(low=0.03, high=0.25), description="Peak change of the gray value, relative to the value there."
    )
    attenuation: AttenuationConfig | None = Field(
        None, description="Derives the strength from the depth instead of `contrast`; needs `pixel_mm`."
    )
    polarity: Literal["brighter", "darker", "either"] = Field(
        "brighter", description="What defects are: brighter in castings, darker on weld films."
    )
    blur: Literal["auto"] | SigmaRange = Field(
        "auto", description="Range of the unsharpness (sigma in pixels), or auto: that of each radiograph's edges."
    )
    noise: bool = Field(True, description="Whether to add the quantum noise that a brighter signal has.")
    mask_threshold: float = Field(
        0.2, gt=0, lt=1, description="A pixel belongs to a defect where the change exceeds this fraction of its peak."
    )
    edge_bias: Fraction = Field(
        0.6,
        description="Fraction of the defects that prefer places where gray values change steeply, as real ones do in "
        "castings; the others lie anywhere.",
    )
    clearance: float = Field(4.0, ge=0, description="Pixels between a simulated defect and the annotated ones.")
    real_defects: Literal["keep", "inpaint"] = Field(
        "keep",
        description="keep annotated defects as targets, or inpaint them, so that training on simulation alone never "
        "shows a real defect as background.",
    )
    category: str | None = Field(None, description="Category of simulated defects; the data set's first if not given.")

    @model_validator(mode="after")
    def _consistent(self) -> "SimulationConfig":
        if self.shapes == "varied" and self.polarity != "brighter":
            raise ValueError("shapes 'varied' are cavities in castings, which are brighter; leave 'polarity' out")
        if self.attenuation is not None and self.pixel_mm is None:
            raise ValueError("'attenuation' works with depths in mm: give 'pixel_mm', the size of a pixel, too")
        if self.attenuation is not None and self.patches_from is not None:
            raise ValueError(
                "'attenuation' needs depths in mm, which shapes from 'patches_from' do not have: give one of the two"
            )
        if self.axis_ratio[0] > self.axis_ratio[1]:
            raise ValueError(f"axis_ratio {self.axis_ratio} is upside down; give (low, high)")
        return self
