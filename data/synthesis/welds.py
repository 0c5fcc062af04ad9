"""One simulated weld on film: a bead, an exposure, and defects planted along it (darker than the bead)."""

from collections.abc import Callable

import cv2
import numpy as np

from data.synthesis.casting_details import add_blemishes
from data.synthesis.defects import Defect, cluster, plant, pore, random_walk, sponge
from data.synthesis.physics import Exposure, detect, field_weight, form_signal, transmission
from data.synthesis.weld_parts import Weld, make_weld

CLEAN_SHARE = 0.15  # of the radiographs have no defect at all
PIXEL_TO_CLUTTER = 1.5  # least contrast of a defect's pixels over noise and structure: a mask labels every pixel
MOST_DENSE = 240  # defects on 1,500 px of weld
CROWDED_SHARE = 0.4  # are porous all along: pores touch each other and lie on lines
FULL_SIZES = ((1024, 384), (1024, 512), (1536, 512), (2048, 640), (768, 366), (768, 572))
PLAIN_SIZE = (384, 256)
TUBE_KILOVOLTS = (130.0, 160.0, 200.0, 225.0)
KINDS = ("pore", "slag", "penetration", "crack", "undercut", "cluster", "track")
KIND_SHARES = (0.66, 0.13, 0.05, 0.04, 0.05, 0.04, 0.03)
PLAIN_SHARES = (0.75, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0)


def make_radiograph(rng: np.random.Generator, family: str, size: tuple[int, int], plain: bool
                    ) -> tuple[np.ndarray, list[Defect], float]:  # fmt: skip
    """Return one simulated weld: display float32 [H, W] in [0, 1], its defects, the pixel size in mm."""
    weld = make_weld(rng, family, size, plain)
    exposure = _exposure(rng, weld, plain)
    sensitivity, visible = field_weight(weld.thickness.shape, exposure)
    signal = form_signal(weld.thickness, exposure) * sensitivity
    defects = _plant_defects(rng, weld, signal, exposure, sensitivity, plain)
    image = detect(signal, visible, exposure, rng)
    if not plain:
        add_blemishes(rng, image)
    return image, defects, weld.pixel_mm


def _exposure(rng: np.random.Generator, weld: Weld, plain: bool) -> Exposure:
    """Return a film exposure: the plate dark, the bead bright, with film's steep contrast and its grain."""
    beside = weld.thickness[np.abs(weld.across) > 1.1]
    plate = float(np.percentile(beside[beside > 1], 10)) if (beside > 1).any() else float(weld.thickness.max())
    kilovolts = float(rng.choice(TUBE_KILOVOLTS))
    scatter = rng.uniform(0.05, 0.3)
    open_share = float(transmission("Fe", kilovolts)(np.array([plate], np.float32))[0])
    signal = open_share * (1 + scatter)
    gamma = rng.uniform(1.2, 3.0)
    gain = rng.uniform(0.65, 0.95) ** (1 / gamma) / signal
    grain = rng.uniform(0.002, 0.006) if plain else float(np.exp(rng.uniform(np.log(0.001), np.log(0.012))))
    blur = 1.0 if plain else rng.uniform(0.8, 2.0)
    reach = rng.uniform(0, 1.0)  # film digitised: its grain is a little coarser than a pixel
    return Exposure(
        material="Fe", kilovolts=kilovolts, gain=gain, offset=0.0, gamma=gamma, black=rng.uniform(0.02, 0.12),
        white=rng.uniform(0.75, 1.0), film=True, blur_x=blur, blur_y=blur, scatter=scatter, glare=0.0,
        photons=1 / (grain**2 * signal), electronic=0.0, display_noise=rng.uniform(0.2, 1.0) / 255, line_noise=0.0,
        noise_reach_x=reach, noise_reach_y=reach * rng.uniform(0.9, 1.0), mottle=0.0, field=None,
        vignetting=0.0 if plain else rng.uniform(0, 0.1),
    )  # fmt: skip


def _plant_defects(rng: np.random.Generator, weld: Weld, signal: np.ndarray, exposure: Exposure, weight: np.ndarray,
                   plain: bool) -> list[Defect]:  # fmt: skip
    """Plant the weld's defects into `signal`, in place; return those that show.

    They lie apart from one another, except in a crowded weld.
    """
    if rng.random() < CLEAN_SHARE:
        return []
    height, width = signal.shape
    crowded = not plain and rng.random() < CROWDED_SHARE
    density = rng.gamma(2.0, 60) if crowded else rng.gamma(0.8, 40)  # defects on 1,500 px of weld
    wanted = int(rng.integers(2, 7)) if plain else 1 + int(min(density, MOST_DENSE) * width / 1500)
    taken = np.zeros(signal.shape, bool)
    defects: list[Defect] = []
    # Pores come in trains: they gather around a few places along the bead.
    homes = rng.uniform(0, width, 3)
    for _ in range(12 * wanted):
        if len(defects) == wanted:
            break
        kind = str(rng.choice(KINDS, p=PLAIN_SHARES if plain else KIND_SHARES))
        chord = SHAPES[kind](rng, weld)
        at_home = rng.random() < (0.3 if crowded else 0.6)
        x = rng.choice(homes) + rng.normal(0, width / 14) if at_home else rng.uniform(0, width)
        column = int(np.clip(x, 0, width - 1))
        place = rng.uniform(-0.75, 0.75)  # across the bead, in half widths
        if kind == "undercut":
            place = rng.choice([-0.95, 0.95])
        elif kind == "penetration":
            place = rng.normal(0, 0.04)
        elif kind == "track":
            place = rng.choice([-1, 1]) * rng.uniform(0.15, 0.55)
        y = int(np.abs(weld.across[:, column] - place).argmin())
        corner = (column - chord.shape[1] // 2, y - chord.shape[0] // 2)
        apart = np.s_[max(corner[1], 0) : max(corner[1] + chord.shape[0], 0),
                      max(corner[0], 0) : max(corner[0] + chord.shape[1], 0)]  # fmt: skip
        beyond = corner[0] + chord.shape[1] >= width or corner[1] + chord.shape[0] >= height
        if min(corner) < 1 or beyond or (taken[apart].any() and not crowded):
            continue
        contrast = float(np.exp(rng.uniform(np.log(0.2 if plain else 0.07), np.log(0.6))))
        defect = plant(weld.thickness, signal, exposure, weight, chord, kind, corner, contrast, PIXEL_TO_CLUTTER)
        if defect is not None:
            taken[apart] = True
            defects.append(defect)
    return defects


def _pore(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    return pore(rng, float(np.exp(rng.uniform(np.log(6), np.log(max(weld.half_width * 0.3, 12))))))


def _cluster(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    return cluster(rng, float(rng.uniform(0.3, 0.8) * weld.half_width))


def _slag(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    """Return the chord of slag: an irregular island, stretched along the bead."""
    island = sponge(rng, float(rng.uniform(0.15, 0.45) * weld.half_width) + 6)
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


def _penetration(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    return _line(rng, weld, weld.half_width * rng.uniform(0.8, 4), (2, 5), 0.004)


def _undercut(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    return _line(rng, weld, weld.half_width * rng.uniform(0.4, 2), (3, 7), 0.01)


def _track(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    """Return the chord of a wagon track: slag along the side wall of the groove, long, broad and soft."""
    line = _line(rng, weld, weld.half_width * rng.uniform(0.6, 3), (4, 11), 0.006)
    return cv2.GaussianBlur(np.pad(line, 6), (0, 0), float(rng.uniform(1, 3)))


def _crack(rng: np.random.Generator, weld: Weld) -> np.ndarray:
    """Return the chord of a crack, along the bead or across it."""
    chord = _line(rng, weld, weld.half_width * rng.uniform(0.3, 1.2), (1, 3), 0.2)
    return np.ascontiguousarray(chord.T) if rng.random() < 0.3 else chord


SHAPES: dict[str, Callable[[np.random.Generator, Weld], np.ndarray]] = {
    "pore": _pore, "slag": _slag, "penetration": _penetration, "crack": _crack, "undercut": _undercut,
    "cluster": _cluster, "track": _track,
}  # fmt: skip
