"""Phantoms for parts nobody has seen: random solids behind each other under random acquisitions.

Another generator than `castings`, with other walls, edges and noise: what is trained on one can be tested on the
other. The kinds of part name the wall that leads; others stand behind it.
"""

import numpy as np

from data.synthesis.acquisition import AcquisitionConfig
from data.synthesis.implant import Defect
from data.synthesis.part import Part
from data.synthesis.registry import Layout, PhantomKind
from data.synthesis.scene import make_scene

EASY = AcquisitionConfig(noise=(0.5, 2.0), one_wall_window=0.0, round_field=0.0, video=0.0, halo=0.0)
ALUMINUM = 0.0545  # 1/mm at 80 keV: from optical thickness to millimeters
UNKNOWN_PIXEL_MM = 0.2  # optical thickness needs no length; a plausible size of a pixel


def make_radiograph(rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
                    ) -> tuple[np.ndarray, list[Defect], float]:  # fmt: skip
    """Return one simulated casting: display float32 [H, W] in [0, 1], its defects, the pixel size in mm."""
    pixels, _, defects = make_pair(rng, part, size, easy)
    return pixels, defects, UNKNOWN_PIXEL_MM


def make_pair(rng: np.random.Generator, part: str, size: tuple[int, int], easy: bool
              ) -> tuple[np.ndarray, np.ndarray, list[Defect]]:  # fmt: skip
    """Return one simulated casting and its twin without defects, float32 [H, W] in [0, 1], and the defects."""
    scene = make_scene(rng, (size[1], size[0]), EASY if easy else None, leading=part)
    defects = [Defect(d.kind, d.box[0], d.box[1], d.mask, d.depth / ALUMINUM) for d in scene.defects]
    return scene.pixels, scene.twin, defects


VARIED_CASTINGS = PhantomKind(
    make_radiograph=make_radiograph,
    make_pair=make_pair,
    make_with_iqi=None,
    parts={
        "turned_part": Part(turns=(0, 3, 6)),
        "plate": Part(turns=(1,)),
        "block": Part(turns=(2,)),
        "tube": Part(turns=(4,)),
        "ribs": Part(turns=(5,)),
        "dome": Part(turns=(7,)),
    },
    sizes=((256, 256),),
    easy_size=(256, 256),
    layout=Layout(folder="VariedCastings", first_series="C0201", series_per_part=True, mask_series=None),
    stream=2,
    generator=3,
)
