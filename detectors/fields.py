"""Fields of several `model` sections with what they mean, and ranges that many fields have."""

from typing import Annotated, Literal

from pydantic import Field

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share or a probability, 0 and 1 included."""

ScoreThreshold = Annotated[float, Field(ge=0, lt=1, description="Detections that score less are left out.")]

NmsIoU = Annotated[
    float, Field(gt=0, le=1, description="IoU above which the lesser of two detections of a class is dropped.")
]

DetectionsPerImage = Annotated[
    int,
    Field(
        ge=1,
        le=100_000,
        description="Most detections of a radiograph of up to 768 x 572 pixels; the number grows with the area.",
    ),
]

Pyramid = Annotated[
    bool,
    Field(description="Whether a feature pyramid (FPN) gives maps of several strides; else the backbone's own maps."),
]

PyramidLevels = Annotated[Literal[3, 4], Field(description="Maps of the pyramid: strides 4, 8 and 16, the fourth 32.")]

FPNChannels = Annotated[int, Field(ge=8, le=2048, description="Channels of every map of the pyramid.")]
