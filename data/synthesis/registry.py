"""The rows of the tables that phantoms are drawn from: kinds of phantoms, their parts, and their defects.

No field has a default, so that a row that forgets one fails when its module is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from data.synthesis.implant import Defect
from data.synthesis.iqi import IqiTruth
from data.synthesis.part import Part, cycle_of


@dataclass(frozen=True, kw_only=True)
class DefectKind:
    """A kind of defect, named by its key in the table.

    Attributes:
        share: the fraction of the defects in realistic radiographs that are of this kind.
        easy_share: the same in easy radiographs.
        contrast: range of the peak contrast in realistic radiographs, relative to the display level above black.
        easy_contrast: the same in easy radiographs.

    """

    share: float
    easy_share: float
    contrast: tuple[float, float]
    easy_contrast: tuple[float, float]


Kind = TypeVar("Kind", bound=DefectKind)


def sample_kind(rng: np.random.Generator, kinds: Mapping[str, Kind], easy: bool) -> tuple[str, Kind]:
    """Return the name and the row of a defect kind, drawn by the shares, which sum to 1 in each style."""
    names = list(kinds)
    name = names[int(rng.choice(len(names), p=[row.easy_share if easy else row.share for row in kinds.values()]))]
    return name, kinds[name]


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files, as GDXray does: `folder/series/series_0001.png`.

    Attributes:
        folder: GDXray's name of the group, such as "Castings".
        first_series: the first series, a letter and four digits.
        series_per_part: whether every kind of part is a series of its own, or all are one.
        mask_series: the series of the binary masks, None where there are none.

    """

    folder: str
    first_series: str
    series_per_part: bool
    mask_series: str | None

    def series(self, position: int) -> str:
        """Return the series of the part at a position, counted from 0, among the parts of a data set."""
        if not self.series_per_part:
            return self.first_series
        return f"{self.first_series[0]}{int(self.first_series[1:]) + position:04d}"


class MakeRadiograph(Protocol):
    """What draws the radiographs of a phantom kind."""

    def __call__(
        self, rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
    ) -> tuple[np.ndarray, list[Defect], float]:
        """Return display values float32 [H, W] in [0, 1], the defects, and the pixel size in mm."""
        ...


class MakePair(Protocol):
    """What draws a radiograph together with its twin: the same part and acquisition without a defect, other noise."""

    def __call__(
        self, rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
    ) -> tuple[np.ndarray, np.ndarray, list[Defect]]:
        """Return both as display values float32 [H, W] in [0, 1], and the defects of the first."""
        ...


class MakeWithIqi(Protocol):
    """What draws a radiograph with image quality indicators on it."""

    def __call__(
        self, rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
    ) -> tuple[np.ndarray, list[Defect], float, IqiTruth]:
        """Return display values float32 [H, W] in [0, 1], the defects, the pixel size in mm, what the IQIs show."""
        ...


@dataclass(frozen=True, kw_only=True)
class PhantomKind:
    """A kind of phantom, such as castings.

    Attributes:
        make_radiograph: draws one radiograph, every random choice from the generator that it is given.
        parts: the kinds of part by name, in the order of their series.
        sizes: (width, height) in pixels that realistic radiographs are drawn from.
        easy_size: (width, height) of easy radiographs.
        layout: where a data set keeps its files.
        stream: the kind's number in the random stream; no two kinds share one, and it never changes.
        generator: the version of what the kind draws. It rises whenever the same arguments give other pixels, so that
            old data sets are not taken for new ones.
        make_pair: draws the same radiograph with its twin, None for a kind that has none.
        make_with_iqi: draws the same radiograph with image quality indicators, None for a kind that cannot.
        cycle: the names of the parts in the order in which they take turns; follows from `parts`.

    """

    make_radiograph: MakeRadiograph
    parts: Mapping[str, Part]
    sizes: tuple[tuple[int, int], ...]
    easy_size: tuple[int, int]
    layout: Layout
    stream: int
    generator: int
    make_pair: MakePair | None
    make_with_iqi: MakeWithIqi | None
    cycle: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", cycle_of(self.parts))


def checked_kinds(kinds: Mapping[str, PhantomKind]) -> Mapping[str, PhantomKind]:
    """Return the table as it is. Raises ValueError where two kinds share a random stream or a folder of files."""
    for what in ([kind.stream for kind in kinds.values()], [kind.layout.folder for kind in kinds.values()]):
        if len(set(what)) < len(what):
            raise ValueError(f"two kinds of phantoms share a random stream or a folder: {what}")
    return kinds
