"""One simulated weld on film: a bead, an exposure, and defects implanted along it (darker than the bead)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from data.synthesis.casting_details import add_blemishes
from data.synthesis.defect_shapes import cluster, pore, random_walk, sponge_shrinkage
from data.synthesis.implant import Defect, Scene, implant
from data.synthesis.iqi import DuplexIqi, IqiTruth, draw_duplex_iqi, draw_wire_iqi, iqi_truth, lay_duplex, lay_wires
from data.synthesis.physics import Exposure, acquire, ideal_signal, transmission, vignetting
from data.synthesis.registry import DefectKind, Layout, PhantomKind, sample_kind
from data.synthesis.weld_parts import WELD_PARTS, Weld, make_weld

DEFECT_FREE_SHARE = 0.15  # of the radiographs have no defect at all
PIXEL_TO_CLUTTER = 1.5  # least contrast of a defect's pixels over noise and structure: a mask labels every pixel
MOST_DENSE = 240  # defects on 1,500 px of weld
HEAVILY_POROUS_SHARE = 0.4  # are porous all along: pores touch each other and lie on lines
LEAST_IQI_DOSE = 0.01  # of the usual dose, on radiographs with image quality indicators
TUBE_KILOVOLTS = (130.0, 160.0, 200.0, 225.0)


def make_radiograph(rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
                    ) -> tuple[np.ndarray, list[Defect], float]:  # fmt: skip
    """Return one simulated weld: display float32 [H, W] in [0, 1], its defects, the pixel size in mm."""
    weld = make_weld(rng, WELD_PARTS[part], size, easy)
    image, defects, _ = _expose(rng, weld, easy)
    return image, defects, weld.pixel_mm


def make_with_iqi(rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
                  ) -> tuple[np.ndarray, list[Defect], float, IqiTruth]:  # fmt: skip
    """Return the same weld with single wires and wire pairs on its plate, and what shows of them."""
    weld = make_weld(rng, WELD_PARTS[part], size, easy)
    own = rng.spawn(1)[0]  # the weld and its exposure stay what they are
    wires = weld.wires or draw_wire_iqi(own, weld.thickness.shape)
    if weld.wires is None:
        lay_wires(weld.thickness, weld.pixel_mm, wires)
    duplex = draw_duplex_iqi(own, weld.across, weld.pixel_mm, wires)
    weld = replace(weld, wires=wires)
    dose = float(np.exp(own.uniform(np.log(LEAST_IQI_DOSE), 0)))  # so that not every wire shows
    image, defects, exposure = _expose(rng, weld, easy, duplex, dose)
    sensitivity, _ = vignetting(weld.thickness.shape, exposure)
    truth = iqi_truth(weld.thickness, weld.pixel_mm, exposure, sensitivity, wires, duplex)
    return image, defects, weld.pixel_mm, truth


def _expose(
    rng: np.random.Generator, weld: Weld, easy: bool, duplex: DuplexIqi | None = None, dose: float = 1.0
) -> tuple[np.ndarray, list[Defect], Exposure]:
    """Return the radiograph of a weld, the defects put into it, and its exposure."""
    exposure = _exposure(rng, weld, easy)
    if dose != 1.0:
        exposure = replace(exposure, photons=exposure.photons * dose)
    if duplex is not None:  # after the exposure: tungsten is not what it has to suit
        lay_duplex(weld.thickness, duplex)
    sensitivity, visible = vignetting(weld.thickness.shape, exposure)
    signal = ideal_signal(weld.thickness, exposure) * sensitivity
    defects = _implant_defects(rng, weld, Scene(weld.thickness, signal, exposure, sensitivity), easy)
    image = acquire(signal, visible, exposure, rng)
    if not easy:
        add_blemishes(rng, image)
    return image, defects, exposure


def _exposure(rng: np.random.Generator, weld: Weld, easy: bool) -> Exposure:
    """Return a film exposure: the plate dark, the bead bright, with film's steep contrast and its grain."""
    beside = weld.thickness[np.abs(weld.across) > 1.1]
    plate = float(np.percentile(beside[beside > 1], 10)) if (beside > 1).any() else float(weld.thickness.max())
    kilovolts = float(rng.choice(TUBE_KILOVOLTS))
    scatter = rng.uniform(0.05, 0.3)
    open_share = float(transmission("Fe", kilovolts)(np.array([plate], np.float32))[0])
    signal = open_share * (1 + scatter)
    gamma = rng.uniform(1.2, 3.0)
    gain = rng.uniform(0.65, 0.95) ** (1 / gamma) / signal
    grain = rng.uniform(0.002, 0.006) if easy else float(np.exp(rng.uniform(np.log(0.001), np.log(0.012))))
    blur = 1.0 if easy else rng.uniform(0.8, 2.0)
    reach = rng.uniform(0, 1.0)  # film digitized: its grain is a little coarser than a pixel
    return Exposure(
        material="Fe", kilovolts=kilovolts, gain=gain, offset=0.0, gamma=gamma, black=rng.uniform(0.02, 0.12),
        white=rng.uniform(0.75, 1.0), film=True, blur_x=blur, blur_y=blur, scatter=scatter, glare=0.0,
        photons=1 / (grain**2 * signal), electronic=0.0, display_noise=rng.uniform(0.2, 1.0) / 255, line_noise=0.0,
        noise_reach_x=reach, noise_reach_y=reach * rng.uniform(0.9, 1.0), mottle=0.0, field=None,
        vignetting=0.0 if easy else rng.uniform(0, 0.1),
    )  # fmt: skip


def _implant_defects(rng: np.random.Generator, weld: Weld, scene: Scene, easy: bool) -> list[Defect]:
    """Implant the weld's defects into the scene; return those that show.

    They lie apart from one another, except in a heavily porous weld.
    """
    if rng.random() < DEFECT_FREE_SHARE:
        return []
    height, width = scene.signal.shape
    heavily_porous = not easy and rng.random() < HEAVILY_POROUS_SHARE
    density = rng.gamma(2.0, 60) if heavily_porous else rng.gamma(0.8, 40)  # defects on 1,500 px of weld
    wanted = int(rng.integers(2, 7)) if easy else 1 + int(min(density, MOST_DENSE) * width / 1500)
    taken = np.zeros(scene.signal.shape, bool)
    defects: list[Defect] = []
    # Pores come in trains: they gather around a few places along the bead.
    pore_train_centers = rng.uniform(0, width, 3)
    for _ in range(12 * wanted):
        if len(defects) == wanted:
            break
        name, kind = sample_kind(rng, DEFECT_KINDS, easy)
        chord = kind.shape(rng, weld, kind.size(rng, weld.half_width))
        in_train = rng.random() < (0.3 if heavily_porous else 0.6)
        x = rng.choice(pore_train_centers) + rng.normal(0, width / 14) if in_train else rng.uniform(0, width)
        column = int(np.clip(x, 0, width - 1))
        across = rng.uniform(-0.75, 0.75)
        if kind.across is not None:
            across = kind.across(rng)
        y = int(np.abs(weld.across[:, column] - across).argmin())
        corner = (column - chord.shape[1] // 2, y - chord.shape[0] // 2)
        apart = np.s_[max(corner[1], 0) : max(corner[1] + chord.shape[0], 0),
                      max(corner[0], 0) : max(corner[0] + chord.shape[1], 0)]  # fmt: skip
        beyond = corner[0] + chord.shape[1] >= width or corner[1] + chord.shape[0] >= height
        if min(corner) < 1 or beyond or (taken[apart].any() and not heavily_porous):
            continue
        faint, strong = kind.easy_contrast if easy else kind.contrast
        contrast = float(np.exp(rng.uniform(np.log(faint), np.log(strong))))
        defect = implant(scene, chord, name, corner, contrast, PIXEL_TO_CLUTTER)
        if defect is not None:
            taken[apart] = True
            defects.append(defect)
    return defects


Size = Callable[[np.random.Generator, float], float]


def _half_widths(low: float, high: float, more: float = 0.0) -> Size:
    """Return what draws a size in pixels, uniform in a range of the bead's half width, `more` pixels added."""
    return lambda rng, half_width: float(half_width * rng.uniform(low, high)) + more


def _pore_size(rng: np.random.Generator, half_width: float) -> float:
    """Return the size of a pore in pixels: small ones are the common ones."""
    return float(np.exp(rng.uniform(np.log(6), np.log(max(half_width * 0.3, 12)))))


def _pore(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    return pore(rng, size)


def _cluster(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    return cluster(rng, size)


def _slag(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    """Return the chord of slag: an irregular island, stretched along the bead."""
    island = sponge_shrinkage(rng, size)
    stretch = float(rng.uniform(1, 3))
    return cv2.GaussianBlur(cv2.resize(island, None, fx=stretch, fy=1.0, interpolation=cv2.INTER_LINEAR), (0, 0), 1.5)


def _line(rng: np.random.Generator, weld: Weld, length: float, wide: tuple[int, int], bend: float) -> np.ndarray:
    """Return the chord of a line along the bead, `length` pixels long, that tapers and varies."""
    points = random_walk(rng, np.zeros(2), weld.heading + rng.normal(0, 0.02), length, bend)
    points -= points.min(0) - 6
    side = np.ceil(points.max(0)).astype(int) + 7
    chord = np.zeros((side[1], side[0]), np.float32)
    cv2.polylines(chord, [np.round(points * 8).astype(np.int32)], False, 1.0, int(rng.integers(*wide)), cv2.LINE_8, 3)
    along = np.sin(np.pi * np.linspace(0.03, 0.97, chord.shape[1], dtype=np.float32)) ** np.float32(0.4)
    uneven = np.clip(1 + 0.3 * _uneven(rng, chord.shape[1]), 0.3, 1.6)
    return cv2.GaussianBlur(chord * along * uneven, (0, 0), 0.7)


def _uneven(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return a smooth random line float32 [length], about unit variance."""
    coarse = rng.standard_normal((1, length // 15 + 3), dtype=np.float32)
    return cv2.resize(coarse, (length, 1), interpolation=cv2.INTER_CUBIC)[0]


def _lack_of_penetration(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    return _line(rng, weld, size, (2, 5), 0.004)


def _undercut(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    return _line(rng, weld, size, (3, 7), 0.01)


def _wagon_track(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    """Return the chord of a wagon track: slag along the side wall of the groove, long, broad and soft."""
    line = _line(rng, weld, size, (4, 11), 0.006)
    return cv2.GaussianBlur(np.pad(line, 6), (0, 0), float(rng.uniform(1, 3)))


def _crack(rng: np.random.Generator, weld: Weld, size: float) -> np.ndarray:
    """Return the chord of a crack, along the bead or across it."""
    chord = _line(rng, weld, size, (1, 3), 0.2)
    return np.ascontiguousarray(chord.T) if rng.random() < 0.3 else chord


@dataclass(frozen=True, kw_only=True)
class WeldDefect(DefectKind):
    """A kind of defect in welds.

    Attributes:
        shape: draws the relative chords float32 [h, w] of a defect of a size in pixels.
        size: draws the size, the length of a line, for the bead's half width in pixels.
        across: draws the place across the bead in half widths, +-1 being its toes; None is anywhere within 0.75.

    """

    shape: Callable[[np.random.Generator, Weld, float], np.ndarray]
    size: Size
    across: Callable[[np.random.Generator], float] | None


_CONTRAST, _EASY = (0.07, 0.6), (0.2, 0.6)
DEFECT_KINDS = {
    "pore": WeldDefect(
        shape=_pore, share=0.66, easy_share=0.75, size=_pore_size, contrast=_CONTRAST, easy_contrast=_EASY, across=None
    ),
    "slag": WeldDefect(
        shape=_slag, share=0.13, easy_share=0.25, size=_half_widths(0.15, 0.45, more=6), contrast=_CONTRAST,
        easy_contrast=_EASY, across=None,
    ),
    "lack_of_penetration": WeldDefect(
        shape=_lack_of_penetration, share=0.05, easy_share=0.0, size=_half_widths(0.8, 4), contrast=_CONTRAST,
        easy_contrast=_EASY, across=lambda rng: rng.normal(0, 0.04),
    ),
    "crack": WeldDefect(
        shape=_crack, share=0.04, easy_share=0.0, size=_half_widths(0.3, 1.2), contrast=_CONTRAST,
        easy_contrast=_EASY, across=None,
    ),
    "undercut": WeldDefect(
        shape=_undercut, share=0.05, easy_share=0.0, size=_half_widths(0.4, 2), contrast=_CONTRAST,
        easy_contrast=_EASY, across=lambda rng: rng.choice([-0.95, 0.95]),
    ),
    "cluster": WeldDefect(
        shape=_cluster, share=0.04, easy_share=0.0, size=_half_widths(0.3, 0.8), contrast=_CONTRAST,
        easy_contrast=_EASY, across=None,
    ),
    "wagon_track": WeldDefect(
        shape=_wagon_track, share=0.03, easy_share=0.0, size=_half_widths(0.6, 3), contrast=_CONTRAST,
        easy_contrast=_EASY, across=lambda rng: rng.choice([-1, 1]) * rng.uniform(0.15, 0.55),
    ),
}  # fmt: skip

WELDS = PhantomKind(
    make_radiograph=make_radiograph,
    make_pair=None,
    make_with_iqi=make_with_iqi,
    parts=WELD_PARTS,
    sizes=((1024, 384), (1024, 512), (1536, 512), (2048, 640), (768, 366), (768, 572)),
    easy_size=(384, 256),
    layout=Layout(folder="Welds", first_series="W0001", series_per_part=False, mask_series="W0002"),
    stream=1,
    generator=3,
)
