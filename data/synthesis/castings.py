"""One simulated casting: a part, an exposure that suits it, and defects implanted in its metal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import cv2
import numpy as np

from data.synthesis import defect_shapes
from data.synthesis.casting_details import add_blemishes, add_details
from data.synthesis.casting_parts import CASTING_PARTS
from data.synthesis.implant import Defect, Scene, implant
from data.synthesis.physics import Exposure, acquire, ideal_signal, transmission, vignetting
from data.synthesis.registry import DefectKind, Layout, PhantomKind, sample_kind

TUBE_KILOVOLTS = (60.0, 80.0, 100.0, 130.0, 160.0, 225.0)
# Of the radiographs have no defect at all, besides the few where none could be made visible.
DEFECT_FREE_SHARE = 0.2
# GDXray's C0002 is cut out of its C0001, and readers know it; simulated series keep clear of both.
FIRST_SERIES = "C0101"
EASY_SIZES = (10.0, 40.0)  # pixels; easy radiographs have no smaller and no larger defects


@dataclass(frozen=True, kw_only=True)
class CastingDefect(DefectKind):
    """A kind of defect in castings.

    Attributes:
        shape: draws the relative chords float32 [h, w] of a defect of a size in pixels.
        size: range of the size in pixels; small ones are the common ones, as in GDXray.

    """

    shape: Callable[[np.random.Generator, float], np.ndarray]
    size: tuple[float, float]


# What is spread over many pixels is lost sooner than a compact pore of the same peak.
_COMPACT, _SPREAD, _EASY = (0.02, 0.22), (0.04, 0.25), (0.2, 0.5)
DEFECT_KINDS = {
    "pore": CastingDefect(
        shape=defect_shapes.pore, share=0.62, easy_share=0.85, size=(4, 32), contrast=_COMPACT, easy_contrast=_EASY
    ),
    "cluster": CastingDefect(
        shape=defect_shapes.cluster, share=0.10, easy_share=0.15, size=(12, 70), contrast=_SPREAD, easy_contrast=_EASY
    ),
    "sponge_shrinkage": CastingDefect(
        shape=defect_shapes.sponge_shrinkage, share=0.12, easy_share=0.0, size=(12, 80), contrast=_SPREAD,
        easy_contrast=_EASY,
    ),
    "dendritic_shrinkage": CastingDefect(
        shape=defect_shapes.dendritic_shrinkage, share=0.06, easy_share=0.0, size=(20, 100), contrast=_SPREAD,
        easy_contrast=_EASY,
    ),
    "crack": CastingDefect(
        shape=defect_shapes.crack, share=0.06, easy_share=0.0, size=(18, 90), contrast=_SPREAD, easy_contrast=_EASY
    ),
    "inclusion": CastingDefect(
        shape=defect_shapes.inclusion, share=0.04, easy_share=0.0, size=(4, 24), contrast=_COMPACT, easy_contrast=_EASY
    ),
}  # fmt: skip


def make_radiograph(rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
                    ) -> tuple[np.ndarray, list[Defect], float]:  # fmt: skip
    """Return one simulated casting: display float32 [H, W] in [0, 1], its defects, the pixel size in mm."""
    grid, thickness = CASTING_PARTS[part].build(rng, size)
    if float((thickness[::4, ::4] > 0.5).mean()) < 0.12:  # almost no metal in view: a plate always has some
        grid, thickness = CASTING_PARTS["plate"].build(rng, size)
    thickness = add_details(rng, grid, thickness, easy)
    exposure = _easy_exposure(rng, thickness) if easy else _realistic_exposure(rng, thickness)
    sensitivity, visible = vignetting(thickness.shape, exposure)
    signal = ideal_signal(thickness, exposure) * sensitivity
    defects = _implant_defects(rng, Scene(thickness, signal, exposure, sensitivity * visible), easy)
    image = acquire(signal, visible, exposure, rng)
    if not easy:
        add_blemishes(rng, image)
    return image, defects, grid.pixel_mm


def _realistic_exposure(rng: np.random.Generator, thickness: np.ndarray) -> Exposure:
    """Return an exposure as an operator would choose it for the part, with the spread that GDXray shows."""
    height, width = thickness.shape
    scatter, glare = rng.uniform(0.02, 0.25), rng.uniform(0.0, 0.15)
    blur = rng.uniform(0.7, 2.0)
    # Most radiographs are averages of many frames; one in four is noisy, its grain coarse as often as fine.
    noisy = rng.random() < 0.25
    noise_range = (0.02, 0.05) if noisy else (0.003, 0.02)
    field = None
    if rng.random() < 0.4 and height > 300:
        radius = rng.uniform(0.48, 0.75) * max(height, width) * (1 if width > height else 0.75)
        field = (width / 2 + rng.normal(0, 0.05) * width, height / 2 + rng.normal(0, 0.05) * height, radius)
    optical_depth = float(np.exp(rng.uniform(np.log(0.35), np.log(2.2))))
    level, gamma = rng.uniform(0.15, 0.6), rng.uniform(0.5, 1.2)
    cut = rng.uniform(0.1, 1.0) if rng.random() < 0.2 else 0.0
    black, white = rng.uniform(0.0, 0.1), rng.uniform(0.75, 1.0)
    blur_y = blur * rng.uniform(0.7, 1.1)
    grain = float(np.exp(rng.uniform(np.log(noise_range[0]), np.log(noise_range[1]))))
    style = _style(
        gamma=gamma, black=black, white=white, blur_x=blur, blur_y=blur_y, scatter=scatter, glare=glare,
        display_noise=rng.uniform(0.0, 0.8) / 255, line_noise=max(rng.normal(0, 0.25), 0) / 255,
        noise_reach_x=rng.uniform(0.0, 0.7), noise_reach_y=rng.uniform(0.0, 0.4),
        mottle=rng.uniform(0.4, 1.8) if rng.random() < (0.5 if noisy else 0.15) else 0.0,
        field=field, vignetting=rng.uniform(0, 0.3),
    )  # fmt: skip
    return _expose_metal(rng, thickness, style, optical_depth, level, cut, grain)


def _easy_exposure(rng: np.random.Generator, thickness: np.ndarray) -> Exposure:
    """Return a quiet, sharp exposure for the quick start."""
    optical_depth, level, gamma = rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.5), rng.uniform(0.7, 1.0)
    style = _style(
        gamma=gamma, black=0.05, white=0.95, blur_x=1.0, blur_y=1.0, scatter=0.05, glare=0.0, display_noise=0.3 / 255,
        line_noise=0.0, noise_reach_x=0.2, noise_reach_y=0.0, mottle=0.0, field=None, vignetting=0.0,
    )  # fmt: skip
    return _expose_metal(rng, thickness, style, optical_depth, level, 0.0, rng.uniform(0.005, 0.012))


def _style(**settings: Any) -> Exposure:
    """Return an exposure of aluminum on a detector whose tube voltage, gain and noise are still to be chosen."""
    return Exposure(material="Al", film=False, kilovolts=nan, gain=nan, offset=nan, photons=nan, electronic=nan,
                    **settings)  # fmt: skip


def _expose_metal(rng: np.random.Generator, thickness: np.ndarray, style: Exposure, optical_depth: float,
                  level: float, cut: float, grain: float) -> Exposure:  # fmt: skip
    """Return the exposure in a style that shows the part's typical metal at display `level` (0 black, 1 white).

    The tube voltage is the one whose attenuation of the typical metal is nearest to `optical_depth`; `cut` is the
    fraction of the thickest metal's signal that the digitizer drops; `grain` the quantum noise of the typical metal.
    The style's contrast curve (`gamma`) gives way where the open beam could not saturate otherwise.
    """
    sample = thickness[::4, ::4]
    metal = sample[sample > 0.5]
    typical, thick = (float(q) for q in np.percentile(metal, [50, 90])) if metal.size else (10.0, 10.0)
    wanted = np.exp(-optical_depth)
    kilovolts = min(TUBE_KILOVOLTS, key=lambda kv: abs(np.log(_one(kv, typical) / wanted)))
    stray = (style.scatter + style.glare) * float(transmission("Al", kilovolts)(sample).mean())
    signal, darkest = _one(kilovolts, typical) + stray, _one(kilovolts, thick) + stray
    offset_share = min(cut * darkest, 0.85 * signal) / signal
    # Nine in ten operators let the open beam saturate.
    open_beam = (1 + stray) - signal * offset_share
    least = rng.uniform(1.0, 1.4) / open_beam if rng.random() < 0.9 else 0.0
    gamma = style.gamma
    gain = min(level ** (1 / gamma) / (signal * (1 - offset_share)), 40.0)
    if gain < least:
        gain = least
        gamma = float(np.clip(np.log(level) / np.log(min(gain * signal * (1 - offset_share), 0.95)), gamma, 2.0))
    return replace(
        style, kilovolts=kilovolts, gain=gain, offset=gain * signal * offset_share, gamma=gamma,
        photons=1 / (grain**2 * signal), electronic=float(grain * signal * rng.uniform(0.0, 0.3)),
    )  # fmt: skip


def _one(kilovolts: float, thickness: float) -> float:
    """Return the transmission of one thickness of aluminum in mm."""
    return float(transmission("Al", kilovolts)(np.array([thickness], np.float32))[0])


def _implant_defects(rng: np.random.Generator, scene: Scene, easy: bool) -> list[Defect]:
    """Implant the radiograph's defects into the scene, apart from one another; return those that show."""
    if rng.random() < DEFECT_FREE_SHARE:
        return []
    shape = scene.thickness_mm.shape
    area = scene.thickness_mm.size / (768 * 572)
    wanted = int(rng.integers(1, 4)) if easy else 1 + int(rng.poisson(1.0 + 3.5 * min(area, 1)))
    candidates = _candidates(rng, scene, 40 * wanted, avoid_edges=easy)
    taken = np.zeros(shape, bool)
    defects: list[Defect] = []
    # Radiographs differ: some show strong defects throughout, some only faint ones.
    strength = rng.normal(0, 0.35)
    for x, y in candidates:
        if len(defects) == wanted:
            break
        name, kind = sample_kind(rng, DEFECT_KINDS, easy)
        size = _size(rng, kind, easy, min(shape))
        faint, strong = kind.easy_contrast if easy else kind.contrast
        contrast = float(np.exp(rng.uniform(np.log(faint), np.log(strong)) + (0 if easy else strength)))
        chord = kind.shape(rng, size)
        corner = (int(x) - chord.shape[1] // 2, int(y) - chord.shape[0] // 2)
        apart = np.s_[max(corner[1] - 6, 0) : max(corner[1] + chord.shape[0] + 6, 0),
                      max(corner[0] - 6, 0) : max(corner[0] + chord.shape[1] + 6, 0)]  # fmt: skip
        if taken[apart].any() or not _on_metal(scene, chord, corner):
            continue
        defect = implant(scene, chord, name, corner, min(max(contrast, 0.015), 0.6))
        if defect is not None:
            taken[apart] = True
            defects.append(defect)
    return defects


def _size(rng: np.random.Generator, kind: CastingDefect, easy: bool, shortest: int) -> float:
    """Return a defect's size in pixels, log-uniform in its range, at most a third of the radiograph's shorter side."""
    low, high = kind.size
    if easy:
        low, high = max(low, EASY_SIZES[0]), min(high, EASY_SIZES[1])
    return float(np.exp(rng.uniform(np.log(low), np.log(max(min(high, shortest / 3), low + 1)))))


def _candidates(rng: np.random.Generator, scene: Scene, number: int, avoid_edges: bool) -> np.ndarray:
    """Return candidate centers int [K, 2] as x, y: visible metal, every second one near an edge of the part.

    With `avoid_edges`, none is near an edge.
    """
    margin, step = 6, 4
    view = np.s_[margin:-margin:step, margin:-margin:step]
    level = scene.exposure.gain * scene.signal[view] - scene.exposure.offset
    usable = (scene.thickness_mm[view] > 1) & (scene.weight[view] > 0.3) & (level > 0.02) & (level < 0.98)
    shown = np.ascontiguousarray(scene.exposure.display(scene.signal[view]))
    edge = np.abs(cv2.Laplacian(cv2.GaussianBlur(shown, (0, 0), 1.0), cv2.CV_32F))
    steep = edge > max(float(np.percentile(edge[usable], 80)), 1e-4) if usable.any() else usable
    near = usable & (cv2.dilate(steep.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    picks = []
    shares = ((usable & ~near, number),) if avoid_edges else ((near, number // 2), (usable, number // 2))
    for mask, count in shares:
        found = np.argwhere(mask)
        if len(found):
            picks.append(found[rng.integers(0, len(found), count)])
    if not picks:
        return np.zeros((0, 2), np.int64)
    spots = np.concatenate(picks)[:, ::-1] * step + margin + rng.integers(0, step, (sum(map(len, picks)), 2))
    return spots[rng.permutation(len(spots))]


def _on_metal(scene: Scene, chord: np.ndarray, corner: tuple[int, int]) -> bool:
    """Return whether the defect's core lies inside the view, on metal, and where the detector sees it."""
    ys, xs = np.nonzero(np.abs(chord) > 0.3 * np.abs(chord).max())
    ys, xs = ys + corner[1], xs + corner[0]
    height, width = scene.thickness_mm.shape
    if len(ys) == 0 or ys.min() < 1 or xs.min() < 1 or ys.max() >= height - 1 or xs.max() >= width - 1:
        return False
    return bool((scene.thickness_mm[ys, xs] > 1).mean() > 0.97 and scene.weight[ys, xs].min() > 0.25)


CASTINGS = PhantomKind(
    make_radiograph=make_radiograph,
    make_pair=None,
    make_with_iqi=None,
    parts=CASTING_PARTS,
    sizes=((768, 572), (768, 572), (768, 572), (768, 574), (640, 480), (572, 572), (440, 440), (512, 384), (286, 384),
           (320, 240), (256, 256), (200, 140)),
    easy_size=(320, 320),
    layout=Layout(folder="Castings", first_series=FIRST_SERIES, series_per_part=True, mask_series=None),
    stream=0,
    generator=2,
)  # fmt: skip
