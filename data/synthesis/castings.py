"""One simulated casting: a part, an exposure that suits it, and defects planted in its metal."""

import cv2
import numpy as np

from data.synthesis.casting_details import add_blemishes, add_details
from data.synthesis.casting_parts import BUILDERS
from data.synthesis.defects import SHAPES, Defect, plant
from data.synthesis.physics import Exposure, detect, field_weight, form_signal, transmission

TUBE_KILOVOLTS = (60.0, 80.0, 100.0, 130.0, 160.0, 225.0)
CLEAN_SHARE = 0.2  # of the radiographs have no defect at all, besides the few where none could be made visible
FULL_SIZES = ((768, 572), (768, 572), (768, 572), (768, 574), (640, 480), (572, 572), (440, 440), (512, 384),
              (286, 384), (320, 240), (256, 256), (200, 140))  # fmt: skip
PLAIN_SIZE = (320, 320)
KINDS = ("pore", "cluster", "sponge", "dendrite", "crack", "inclusion")
KIND_SHARES = (0.62, 0.10, 0.12, 0.06, 0.06, 0.04)
PLAIN_SHARES = (0.85, 0.15, 0.0, 0.0, 0.0, 0.0)


def make_radiograph(rng: np.random.Generator, family: str, size: tuple[int, int], plain: bool
                    ) -> tuple[np.ndarray, list[Defect], float]:  # fmt: skip
    """Return one simulated casting: display float32 [H, W] in [0, 1], its defects, the pixel size in mm."""
    grid, thickness = BUILDERS[family](rng, size)
    if float((thickness[::4, ::4] > 0.5).mean()) < 0.12:  # almost no metal in view: a plate always has some
        grid, thickness = BUILDERS["plate"](rng, size)
    thickness = add_details(rng, grid, thickness, plain)
    exposure = _plain_exposure(rng, thickness) if plain else _full_exposure(rng, thickness)
    sensitivity, visible = field_weight(thickness.shape, exposure)
    signal = form_signal(thickness, exposure) * sensitivity
    defects = _plant_defects(rng, thickness, signal, exposure, sensitivity * visible, plain)
    image = detect(signal, visible, exposure, rng)
    if not plain:
        add_blemishes(rng, image)
    return image, defects, grid.pixel_mm


def _full_exposure(rng: np.random.Generator, thickness: np.ndarray) -> Exposure:
    """Return an exposure as an operator would choose it for the part, with the spread that GDXray shows."""
    height, width = thickness.shape
    scatter, glare = rng.uniform(0.02, 0.25), rng.uniform(0.0, 0.15)
    blur = rng.uniform(0.7, 2.0)
    # Most radiographs are averages of many frames; one in four is noisy, its grain coarse as often as fine.
    noisy = rng.random() < 0.25
    quietest, loudest = (0.02, 0.05) if noisy else (0.003, 0.02)
    field = None
    if rng.random() < 0.4 and height > 300:
        radius = rng.uniform(0.48, 0.75) * max(height, width) * (1 if width > height else 0.75)
        field = (width / 2 + rng.normal(0, 0.05) * width, height / 2 + rng.normal(0, 0.05) * height, radius)
    return _expose_metal(
        rng, thickness,
        optical_depth=float(np.exp(rng.uniform(np.log(0.35), np.log(2.2)))),
        level=rng.uniform(0.15, 0.6), gamma=rng.uniform(0.5, 1.2),
        cut=rng.uniform(0.1, 1.0) if rng.random() < 0.2 else 0.0,
        black=rng.uniform(0.0, 0.1), white=rng.uniform(0.75, 1.0),
        blur_x=blur, blur_y=blur * rng.uniform(0.7, 1.1), scatter=scatter, glare=glare,
        grain=float(np.exp(rng.uniform(np.log(quietest), np.log(loudest)))),
        display_noise=rng.uniform(0.0, 0.8) / 255, line_noise=max(rng.normal(0, 0.25), 0) / 255,
        reach_x=rng.uniform(0.0, 0.7), reach_y=rng.uniform(0.0, 0.4),
        mottle=rng.uniform(0.4, 1.8) if rng.random() < (0.5 if noisy else 0.15) else 0.0,
        field=field, vignetting=rng.uniform(0, 0.3),
    )  # fmt: skip


def _plain_exposure(rng: np.random.Generator, thickness: np.ndarray) -> Exposure:
    """Return a quiet, sharp exposure for the quick start."""
    return _expose_metal(
        rng, thickness, optical_depth=rng.uniform(0.6, 1.4), level=rng.uniform(0.25, 0.5), gamma=rng.uniform(0.7, 1.0),
        cut=0.0, black=0.05, white=0.95, blur_x=1.0, blur_y=1.0, scatter=0.05, glare=0.0,
        grain=rng.uniform(0.005, 0.012), display_noise=0.3 / 255, line_noise=0.0, reach_x=0.2, reach_y=0.0, mottle=0.0,
        field=None, vignetting=0.0,
    )  # fmt: skip


def _expose_metal(rng: np.random.Generator, thickness: np.ndarray, optical_depth: float, level: float, gamma: float,
                  cut: float, black: float, white: float, blur_x: float, blur_y: float, scatter: float, glare: float,
                  grain: float, display_noise: float, line_noise: float, reach_x: float, reach_y: float,
                  mottle: float, field: tuple[float, float, float] | None, vignetting: float) -> Exposure:  # fmt: skip
    """Return the exposure that shows the part's typical metal at display `level` (0 black, 1 white).

    The tube voltage is the one whose attenuation of the typical metal is nearest to `optical_depth`; `cut` is the
    share of the thickest metal's signal that the digitiser drops; `grain` the quantum noise of the typical metal.
    """
    sample = thickness[::4, ::4]
    metal = sample[sample > 0.5]
    typical, thick = (float(q) for q in np.percentile(metal, [50, 90])) if metal.size else (10.0, 10.0)
    wanted = np.exp(-optical_depth)
    kilovolts = min(TUBE_KILOVOLTS, key=lambda kv: abs(np.log(_one(kv, typical) / wanted)))
    stray = (scatter + glare) * float(transmission("Al", kilovolts)(sample).mean())
    signal, darkest = _one(kilovolts, typical) + stray, _one(kilovolts, thick) + stray
    offset_share = min(cut * darkest, 0.85 * signal) / signal
    # Nine in ten operators let the open beam saturate; where that needs it, the contrast curve gives way.
    open_beam = (1 + stray) - signal * offset_share
    least = rng.uniform(1.0, 1.4) / open_beam if rng.random() < 0.9 else 0.0
    gain = min(level ** (1 / gamma) / (signal * (1 - offset_share)), 40.0)
    if gain < least:
        gain = least
        gamma = float(np.clip(np.log(level) / np.log(min(gain * signal * (1 - offset_share), 0.95)), gamma, 2.0))
    return Exposure(
        material="Al", kilovolts=kilovolts, gain=gain, offset=gain * signal * offset_share, gamma=gamma, black=black,
        white=white, film=False, blur_x=blur_x, blur_y=blur_y, scatter=scatter, glare=glare,
        photons=1 / (grain**2 * signal), electronic=float(grain * signal * rng.uniform(0.0, 0.3)),
        display_noise=display_noise, line_noise=line_noise, noise_reach_x=reach_x, noise_reach_y=reach_y, mottle=mottle,
        field=field, vignetting=vignetting,
    )  # fmt: skip


def _one(kilovolts: float, thickness: float) -> float:
    """Return the transmission of one thickness of aluminum in mm."""
    return float(transmission("Al", kilovolts)(np.array([thickness], np.float32))[0])


def _plant_defects(rng: np.random.Generator, thickness: np.ndarray, signal: np.ndarray, exposure: Exposure,
                   weight: np.ndarray, plain: bool) -> list[Defect]:  # fmt: skip
    """Plant the radiograph's defects into `signal`, in place, apart from one another; return those that show."""
    if rng.random() < CLEAN_SHARE:
        return []
    area = thickness.size / (768 * 572)
    wanted = int(rng.integers(1, 4)) if plain else 1 + int(rng.poisson(1.0 + 3.5 * min(area, 1)))
    places = _places(rng, thickness, signal, exposure, weight, 40 * wanted, avoid_edges=plain)
    taken = np.zeros(thickness.shape, bool)
    defects: list[Defect] = []
    # Radiographs differ: some show strong defects throughout, some only faint ones.
    strength = rng.normal(0, 0.35)
    for x, y in places:
        if len(defects) == wanted:
            break
        kind = str(rng.choice(KINDS, p=PLAIN_SHARES if plain else KIND_SHARES))
        size = _size(rng, kind, plain, min(thickness.shape))
        # What is spread over many pixels is lost sooner than a compact pore of the same peak.
        faint, strong = (0.2, 0.5) if plain else (0.02, 0.22) if kind in ("pore", "inclusion") else (0.04, 0.25)
        contrast = float(np.exp(rng.uniform(np.log(faint), np.log(strong)) + (0 if plain else strength)))
        chord = SHAPES[kind](rng, size)
        corner = (int(x) - chord.shape[1] // 2, int(y) - chord.shape[0] // 2)
        apart = np.s_[max(corner[1] - 6, 0) : max(corner[1] + chord.shape[0] + 6, 0),
                      max(corner[0] - 6, 0) : max(corner[0] + chord.shape[1] + 6, 0)]  # fmt: skip
        if taken[apart].any() or not _on_metal(thickness, weight, chord, corner):
            continue
        defect = plant(thickness, signal, exposure, weight, chord, kind, corner, min(max(contrast, 0.015), 0.6))
        if defect is not None:
            taken[apart] = True
            defects.append(defect)
    return defects


def _size(rng: np.random.Generator, kind: str, plain: bool, shortest: int) -> float:
    """Return a defect's size in pixels: small ones are the common ones, as in GDXray."""
    low, high = {"pore": (4, 32), "cluster": (12, 70), "sponge": (12, 80), "dendrite": (20, 100),
                 "crack": (18, 90), "inclusion": (4, 24)}[kind]  # fmt: skip
    if plain:
        low, high = max(low, 10), min(high, 40)
    return float(np.exp(rng.uniform(np.log(low), np.log(max(min(high, shortest / 3), low + 1)))))


def _places(rng: np.random.Generator, thickness: np.ndarray, signal: np.ndarray, exposure: Exposure,
            weight: np.ndarray, number: int, avoid_edges: bool) -> np.ndarray:  # fmt: skip
    """Return candidate centers int [K, 2] as x, y: visible metal, every second one near an edge of the part.

    With `avoid_edges`, none is near an edge.
    """
    margin, step = 6, 4
    view = np.s_[margin:-margin:step, margin:-margin:step]
    level = exposure.gain * signal[view] - exposure.offset
    usable = (thickness[view] > 1) & (weight[view] > 0.3) & (level > 0.02) & (level < 0.98)
    shown = np.ascontiguousarray(exposure.display(signal[view]))
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


def _on_metal(thickness: np.ndarray, weight: np.ndarray, chord: np.ndarray, corner: tuple[int, int]) -> bool:
    """Say whether the defect's core lies inside the view, on metal, and where the detector sees it."""
    ys, xs = np.nonzero(np.abs(chord) > 0.3 * np.abs(chord).max())
    ys, xs = ys + corner[1], xs + corner[0]
    height, width = thickness.shape
    if len(ys) == 0 or ys.min() < 1 or xs.min() < 1 or ys.max() >= height - 1 or xs.max() >= width - 1:
        return False
    return bool((thickness[ys, xs] > 1).mean() > 0.97 and weight[ys, xs].min() > 0.25)
