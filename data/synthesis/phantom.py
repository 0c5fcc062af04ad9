"""Simulated radiographs of castings and welds with known defects.

Every phantom is a function of (kind, seed, index, style, family, size) alone, so that any number of processes
writes the same bytes.
"""

from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.synthesis.castings import CASTINGS
from data.synthesis.implant import Defect
from data.synthesis.iqi import IqiTruth
from data.synthesis.registry import checked_kinds
from data.synthesis.varied_castings import VARIED_CASTINGS
from data.synthesis.welds import WELDS

# The one table of kinds: commands, configurations and data sets read it.
PHANTOM_KINDS = checked_kinds({"castings": CASTINGS, "varied_castings": VARIED_CASTINGS, "welds": WELDS})
FAMILIES = {name: tuple(kind.parts) for name, kind in PHANTOM_KINDS.items()}
STYLES = ("realistic", "easy")
FORMER_STYLES = {"full": "realistic", "plain": "easy"}  # what the styles were once called; still read
_SMALLEST_SIDE = 64
_LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Phantom:
    """One simulated radiograph and the truth about it.

    Attributes:
        pixels: float32 [H, W] in [0, 1], larger is brighter on the display.
        boxes: float64 [N, 4], x1 y1 x2 y2 in pixels: the tight box of what is seen of each defect, that is of the
            pixels whose noise-free contrast after blur exceeds a fifth of the defect's peak. N may be 0.
        labels: the N kinds of defect, such as "pore" or "crack".
        depths_mm: float64 [N], the largest chord along the ray in mm.
        masks: N tuples (x0, y0, bool [h, w]): the corner in pixels and the footprint inside the box.
        family: the kind of part, one of `FAMILIES[kind]`.
        pixel_size_mm: the pixel's size on the part in mm.
        iqi: what its image quality indicators show, where they were asked for.

    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: list[str]
    depths_mm: np.ndarray
    masks: list[tuple[int, int, np.ndarray]]
    family: str
    pixel_size_mm: float
    iqi: IqiTruth | None = None


def make_phantom(kind: str, seed: int, index: int, *, style: str = "realistic", family: str | None = None,
                 size: tuple[int, int] | None = None, iqi: bool = False) -> Phantom:  # fmt: skip
    """Return one simulated radiograph, the same for the same arguments.

    Args:
        kind: one of `PHANTOM_KINDS`: "castings" (defects brighter than the metal) or "welds" (film: defects darker).
        seed: of the data set, 0 or more.
        index: of the radiograph in the data set, 0 or more.
        style: "realistic" as GDXray's radiographs; "easy" for a quick start: 320 x 320, quiet, clear defects. The
            former names, "full" and "plain", are read too.
        family: one of `FAMILIES[kind]`; by default the families take turns.
        size: (width, height) in pixels, 64 to 8192; by default GDXray's sizes, 768 x 572 the most common.
        iqi: whether single wires and wire pairs lie on the part, of which `Phantom.iqi` then says what shows. All else
            stays the same but for the noise behind them.

    Raises:
        InputError: an argument is outside its range.

    """
    style = present_style(style)
    check_arguments(kind, seed, index, style, family, size, iqi)
    family = family or family_of(kind, seed, index)
    row = PHANTOM_KINDS[kind]
    rng = np.random.default_rng([seed, index, row.stream, STYLES.index(style)])
    usual = row.sizes[int(rng.integers(len(row.sizes)))] if style == "realistic" else row.easy_size
    truth = None
    if iqi and row.make_with_iqi is not None:
        pixels, defects, pixel_mm, truth = row.make_with_iqi(rng, family, size or usual, style == "easy")
    else:
        pixels, defects, pixel_mm = row.make_radiograph(rng, family, size or usual, style == "easy")
    return Phantom(
        pixels=pixels,
        boxes=np.array([_box(d) for d in defects], np.float64).reshape(-1, 4),
        labels=[d.kind for d in defects],
        depths_mm=np.array([d.depth_mm for d in defects], np.float64),
        masks=[(d.x0, d.y0, d.mask) for d in defects],
        family=family,
        pixel_size_mm=float(pixel_mm),
        iqi=truth,
    )


def present_style(style: str) -> str:
    """Return the present name of a style that may be given by its former one; anything else as it is."""
    return FORMER_STYLES.get(style, style)


def family_of(kind: str, seed: int, index: int) -> str:
    """Return the family that `make_phantom` chooses where none is given."""
    cycle = PHANTOM_KINDS[kind].cycle
    return cycle[(seed + index) % len(cycle)]


def _box(defect: Defect) -> tuple[float, float, float, float]:
    height, width = defect.mask.shape
    return (defect.x0, defect.y0, defect.x0 + width, defect.y0 + height)


def check_arguments(
    kind: str, seed: int, index: int, style: str, family: str | None, size: tuple[int, int] | None, iqi: bool = False
) -> None:
    """Raise InputError unless the arguments of `make_phantom` are in range."""
    if kind not in PHANTOM_KINDS:
        raise InputError(f"kind {kind!r} is unknown; choose one of {sorted(PHANTOM_KINDS)}")
    if style not in STYLES:
        raise InputError(f"style {style!r} is unknown; choose one of {list(STYLES)}")
    if family is not None and family not in FAMILIES[kind]:
        raise InputError(f"family {family!r} is unknown for {kind}; choose one of {list(FAMILIES[kind])}")
    if iqi and PHANTOM_KINDS[kind].make_with_iqi is None:
        able = sorted(name for name, row in PHANTOM_KINDS.items() if row.make_with_iqi is not None)
        raise InputError(f"image quality indicators are not simulated on {kind}; choose one of {able}")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} and index {index} must be 0 or more")
    if size is not None and not all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in size):
        raise InputError(f"size {size[0]}x{size[1]} must be {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels a side")
