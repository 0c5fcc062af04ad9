"""What a configuration says about simulated defects."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from data.schema import StrictModel
from data.synthesis.placement import Distribution
from data.transforms import NonNegativeRange, Probability


def _counts(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range {pair} is upside down; give (least, most)")
    return pair


Count = Annotated[int, Field(ge=0)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_counts)]


class GrayLawConfig(StrictModel):
    """Attenuation `mu` in 1/mm and the thickness `xmax` in mm at which the radiograph is darkest."""

    mu: float = Field(gt=0)
    xmax: float = Field(gt=0)


class SimulationConfig(StrictModel):
    """Which defects are simulated, how many and how strong.

    `share` of the radiographs get defects, `per_image` (least, most) each. `half_axis` is the longest half axis of an
    ellipsoid, in pixels, or in mm where `pixel_mm` gives the size of a pixel; `flatness` is the range of the shorter
    ones' share of it. `sizes_from` names a COCO file whose boxes, less `sizes_margin` pixels on each side, give the
    sizes instead. A share `clusters` of the defects are unions of 2 to 4 ellipsoids; `irregularity` varies the
    depth inside a defect by so much (standard deviation). A share `patch_share` of the defects have the shapes of
    those in a file or folder of patches, `patches_from`: real ones, or a generative network's.

    `contrast` is the peak change as a share of the gray value there. With `law` the strength follows from the depth
    instead, which needs `pixel_mm`. A cavity that would not show against the noise and the slope of its background
    is made stronger, up to twice `contrast.high`, or left out. `polarity` says what defects are: brighter in castings,
    darker on weld films. `blur` is the range of sigma in pixels, or auto: each radiograph's own, from its edges.
    `noise` adds the quantum noise that the brighter signal has. A pixel belongs to the defect where the change
    exceeds `box_share` of its peak; mask and tight box follow.

    Defects stay on the test object, `clearance` pixels off annotated ones; a share `near_walls` of them is the likelier
    at a place the steeper the gray values change there, as real ones are in castings, the rest lies anywhere.
    `real_defects` says what becomes of annotated ones: `keep` them as targets, or `inpaint` them, so that training on
    simulation alone never shows a real defect as background. `category` names simulated defects; the data set's
    first one if not given.
    """

    shapes: Literal["ellipsoids", "varied"] = Field(
        "ellipsoids",
        description="ellipsoids, as the fields below describe them; or varied: pores, cavities, chains, sponges, "
        "branching shrinkage and cracks of 5 to 200 px, whose strength is drawn as a contrast-to-noise ratio against "
        "the radiograph's local noise, from barely visible to plain. Of the fields below only share, per_image, "
        "real_defects and category matter then.",
    )
    share: Probability = 1.0
    per_image: CountRange = (2, 8)
    half_axis: Distribution = Distribution(low=3.5, high=20.0)
    flatness: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.4, 1.0)
    pixel_mm: float | None = Field(None, gt=0)
    sizes_from: str | None = None
    sizes_margin: float = Field(0.0, ge=0)
    clusters: Probability = 0.35
    patches_from: str | None = None
    patch_share: Probability = 0.5
    irregularity: float = Field(0.15, ge=0, le=1)
    contrast: Distribution = Distribution(low=0.03, high=0.25)
    law: GrayLawConfig | None = None
    polarity: Literal["brighter", "darker", "either"] = "brighter"
    blur: Literal["auto"] | NonNegativeRange = "auto"
    noise: bool = True
    box_share: float = Field(0.2, gt=0, lt=1)
    near_walls: Probability = 0.6
    clearance: float = Field(4.0, ge=0)
    real_defects: Literal["keep", "inpaint"] = "keep"
    category: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "SimulationConfig":
        if self.shapes == "varied" and self.polarity != "brighter":
            raise ValueError("shapes 'varied' are cavities in castings, which are brighter; leave 'polarity' out")
        if self.law is not None and self.pixel_mm is None:
            raise ValueError("'law' works with depths in mm: give 'pixel_mm', the size of a pixel, too")
        if self.law is not None and self.patches_from is not None:
            raise ValueError("'law' needs depths in mm, which shapes from 'patches_from' have not: give one of the two")
        if self.flatness[0] > self.flatness[1]:
            raise ValueError(f"flatness {self.flatness} is upside down; give (low, high)")
        return self
