import dataclasses
import hashlib
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools import mask as coco_mask

from data.errors import InputError
from data.synthesis import castings, defect_shapes, welds
from data.synthesis import implant as implanting
from data.synthesis.casting_parts import CASTING_PARTS, box, circle, inside, smooth_min
from data.synthesis.implant import Scene, implant
from data.synthesis.part import Part, cycle_of
from data.synthesis.phantom import FAMILIES, PHANTOM_KINDS, family_of, make_phantom
from data.synthesis.phantom_set import write_phantoms
from data.synthesis.registry import PhantomKind, checked_kinds, sample_kind

EVERY_FAMILY = [(kind, family) for kind in FAMILIES for family in FAMILIES[kind]]
SMALL = (224, 160)
MAKE_PHANTOM = Path(__file__).parents[3] / "tools" / "make_phantom.py"


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.mark.parametrize(("kind", "family"), EVERY_FAMILY)
@pytest.mark.parametrize("style", ["realistic", "easy"])
def test_every_family_gives_a_consistent_phantom(kind, family, style):
    for index in range(3):
        phantom = make_phantom(kind, 1, index, style=style, family=family, size=SMALL)
        assert phantom.pixels.shape == (160, 224)
        assert phantom.pixels.dtype == np.float32
        assert phantom.pixels.min() >= 0
        assert phantom.pixels.max() <= 1
        assert phantom.family == family
        assert phantom.boxes.shape == (len(phantom.labels), 4)
        assert len(phantom.depths_mm) == len(phantom.masks) == len(phantom.labels)
        assert (phantom.depths_mm > 0).all()
        for (x1, y1, x2, y2), (x, y, mask) in zip(phantom.boxes, phantom.masks, strict=True):
            assert 0 <= x1 < x2 <= 224
            assert 0 <= y1 < y2 <= 160
            assert (x1, y1, x2, y2) == (x, y, x + mask.shape[1], y + mask.shape[0])
            # Tight: the first and last row and column each hold a pixel of the defect.
            assert all(line.any() for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def test_same_arguments_same_pixels_and_another_index_another_image():
    first, again, other = (make_phantom("castings", 4, index, size=SMALL, family="ring") for index in (2, 2, 3))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.pixels, other.pixels)


def test_families_take_turns():
    assert {family_of("castings", 9, index) for index in range(7)} == set(CASTING_PARTS)
    assert make_phantom("castings", 9, 5, style="easy", size=SMALL).family == family_of("castings", 9, 5)


def test_about_a_fifth_of_the_castings_are_clean():
    counts = [len(make_phantom("castings", 0, index, style="easy", size=(160, 160)).labels) for index in range(80)]
    assert 0.08 < np.mean(np.array(counts) == 0) < 0.4
    assert np.mean(counts) > 0.7


def implanted(monkeypatch, kind: str, indices: range, module) -> list:
    """Return (label, thickness, signal before, signal after, exposure, defect) of every implanted defect."""
    seen = []

    def spy(scene, chord, label, *rest):
        before = scene.signal.copy()
        defect = implant(scene, chord, label, *rest)
        if defect is None:
            assert np.array_equal(before, scene.signal), "a defect that was dropped left its trace"
        else:
            seen.append((label, scene.thickness_mm, before, scene.signal.copy(), scene.exposure, defect))
        return defect

    monkeypatch.setattr(module, "implant", spy)
    for index in indices:
        make_phantom(kind, 2, index, size=(320, 240))
    return seen


@pytest.mark.parametrize(("kind", "module"), [("castings", castings), ("welds", welds)])
def test_defects_lie_on_metal_have_the_right_polarity_and_are_visible(monkeypatch, kind, module):
    cases = implanted(monkeypatch, kind, range(14), module)
    assert len(cases) > 15
    for label, thickness, before, after, exposure, defect in cases:
        height, width = defect.mask.shape
        here = np.s_[defect.y0 : defect.y0 + height, defect.x0 : defect.x0 + width]
        change = (exposure.display(after[here]) - exposure.display(before[here]))[defect.mask]
        darker = kind == "welds" or label == "inclusion"
        assert (change < 0).mean() > 0.99 if darker else (change > 0).mean() > 0.99
        assert np.abs(change).max() >= implanting.PEAK_TO_NOISE * exposure.display_sigma(before[here].max()) * 0.5
        assert (thickness[here][defect.mask] > 0.5).mean() > 0.8
        assert label == "inclusion" or 0 < defect.depth_mm <= implanting.DEEPEST * thickness[here].max() + 1e-3


def slab(side: int) -> np.ndarray:
    return np.full((side, side), 10, np.float32)


def test_a_defect_too_faint_for_its_wall_is_left_out():
    signal = np.full((60, 60), 0.5, np.float32)
    quiet = castings._easy_exposure(np.random.default_rng(0), slab(60))
    chord = defect_shapes.pore(np.random.default_rng(0), 3)
    scene = Scene(slab(60), signal, dataclasses.replace(quiet, photons=1.0), np.ones((60, 60), np.float32))
    assert implant(scene, chord, "pore", (20, 20), 0.05) is None
    assert (signal == 0.5).all()
    assert implant(dataclasses.replace(scene, exposure=quiet), chord, "pore", (20, 20), 0.05) is not None


def test_where_pixels_are_labeled_a_defect_like_its_background_is_left_out_or_made_deeper():
    rng = np.random.default_rng(0)
    exposure = castings._easy_exposure(rng, slab(80))
    chord, weight = defect_shapes.pore(rng, 16), np.ones((80, 80), np.float32)
    waves = np.sin(np.arange(80, dtype=np.float32) / 3)[:, None] * np.ones(80, np.float32)  # as wide as the pore
    depths = {}
    for height in (0.0, 0.02):
        for ratio in (0.0, 1.5):
            scene = Scene(slab(80), (0.5 * (1 + height * waves)).astype(np.float32), exposure, weight)
            found = implant(scene, chord, "pore", (30, 30), 0.02, ratio)
            depths[height, ratio] = found.depth_mm if found else np.inf
    assert depths[0.0, 1.5] == depths[0.0, 0.0]  # on a uniform background the rule says nothing
    assert depths[0.02, 1.5] > 1.3 * depths[0.02, 0.0]


@pytest.mark.slow
def test_written_set_is_the_same_with_one_and_two_workers(tmp_path):
    for workers in (1, 2):
        write_phantoms("castings", 9, tmp_path / str(workers), 7, style="easy", size=(96, 96), workers=workers)
    assert digest(tmp_path / "1") == digest(tmp_path / "2")


def test_written_castings_follow_gdxray_and_coco(tmp_path):
    annotations = write_phantoms("castings", 14, tmp_path / "set", 3, style="easy", size=(128, 96), workers=1)
    dataset = json.loads(annotations.read_text())
    by_id = {image["id"]: image for image in dataset["images"]}
    assert len(by_id) == 14
    assert [a["id"] for a in dataset["annotations"]] == list(range(1, len(dataset["annotations"]) + 1))
    assert dataset["categories"] == [{"id": 1, "name": "defect"}]
    series_of = {}
    for image in dataset["images"]:
        assert image["file_name"] == f"Castings/{image['series']}/{image['series']}_{image['number']:04d}.png"
        pixels = cv2.imread(str(annotations.parent / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (96, 128)
        assert pixels.dtype == np.uint8
        series_of.setdefault(image["series"], set()).add(image["family"])
    assert len(series_of) == len(CASTING_PARTS)
    assert all(len(families) == 1 for families in series_of.values())
    rows = []
    for path in sorted((tmp_path / "set").glob("Castings/*/ground_truth.txt")):
        table = np.loadtxt(path, ndmin=2)
        assert table.shape[1] == 5
        rows += [(path.parent.name, int(r[0]), r[1], r[3], r[2] - r[1], r[4] - r[3]) for r in table]
    expected = []
    for annotation in dataset["annotations"]:
        image = by_id[annotation["image_id"]]
        expected.append((image["series"], image["number"], *annotation["bbox"]))
    assert sorted(rows) == sorted(expected)
    for annotation in dataset["annotations"]:
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert coco_mask.area(annotation["segmentation"]) == annotation["area"]


def test_written_welds_come_with_their_masks(tmp_path):
    annotations = write_phantoms("welds", 4, tmp_path / "set", 3, style="easy", workers=1)
    dataset = json.loads(annotations.read_text())
    for image in dataset["images"]:
        mask = cv2.imread(str(tmp_path / f"set/Welds/W0002/W0002_{image['number']:04d}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (image["height"], image["width"])
        assert set(np.unique(mask)) <= {0, 255}
        union = np.zeros(mask.shape, bool)
        for annotation in dataset["annotations"]:
            if annotation["image_id"] == image["id"]:
                union |= coco_mask.decode(annotation["segmentation"]) > 0
        assert np.array_equal(mask == 255, union)
    assert len(dataset["annotations"]) >= 4  # the masks are not all empty
    assert len(np.loadtxt(tmp_path / "set/Welds/W0001/ground_truth.txt", ndmin=2)) == len(dataset["annotations"])


def test_sixteen_bits_hold_more_than_256_levels(tmp_path):
    annotations = write_phantoms("castings", 1, tmp_path / "set", 3, bits=16, family="plate", size=(128, 128))
    name = json.loads(annotations.read_text())["images"][0]["file_name"]
    pixels = cv2.imread(str(tmp_path / "set" / name), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels)) > 256


def test_a_whole_set_is_kept_an_unfinished_one_redone_another_refused(tmp_path):
    out = tmp_path / "set"
    annotations = write_phantoms("castings", 2, out, 3, style="easy", size=(96, 96), workers=1)
    before = digest(out)
    stamp = annotations.stat().st_mtime_ns
    assert write_phantoms("castings", 2, out, 3, style="easy", size=(96, 96), workers=1) == annotations
    assert annotations.stat().st_mtime_ns == stamp
    annotations.unlink()  # as if interrupted
    write_phantoms("castings", 2, out, 3, style="easy", size=(96, 96), workers=1)
    assert digest(out) == before
    with pytest.raises(InputError, match="other arguments"):
        write_phantoms("castings", 2, out, 4, style="easy", size=(96, 96), workers=1)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="something else"):
        write_phantoms("castings", 1, tmp_path, 0)


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "apples"}, {"style": "fancy"}, {"family": "girth"}, {"size": (0, 100)}, {"size": (100, 10**6)},
     {"seed": -1}, {"index": -1}],
)  # fmt: skip
def test_degenerate_arguments_are_input_errors(arguments):
    call = {"kind": "castings", "seed": 0, "index": 0, **arguments}
    with pytest.raises(InputError):
        make_phantom(**call)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"bits": 12}, {"workers": 0}])
def test_degenerate_sets_are_input_errors(tmp_path, arguments):
    call = {"kind": "castings", "n": 1, "out": tmp_path / "set", "seed": 0, **arguments}
    with pytest.raises(InputError):
        write_phantoms(**call)


def test_command_prints_a_table_and_a_montage(tmp_path):
    main = runpy.run_path(str(MAKE_PHANTOM))["main"]
    arguments = ["--n", "2", "--out", str(tmp_path / "set"), "--style", "easy", "--size", "96x80", "--workers", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "set/montage.png").is_file()
    assert CliRunner().invoke(main, [*arguments[:-3], "wide", "--workers", "1"]).exit_code == 2


def test_distances_of_a_circle_and_a_box_by_hand():
    x, y = np.float32([[0.0, 5.0]]), np.float32([[0.0, 0.0]])
    assert circle(x, y, 0, 0, 2).tolist() == [[-2.0, 3.0]]
    assert box(x, y, 0, 0, (3, 1), 0, 0) == pytest.approx(np.array([[-1.0, 2.0]]))
    assert inside(np.float32([-5, 0, 5]), 2, 0.1).tolist() == [1.0, 0.5, 0.0]
    assert (smooth_min(x, x, 2.0) <= x).all()


@pytest.mark.parametrize(("former", "present"), [("full", "realistic"), ("plain", "easy")])
def test_former_names_of_styles_are_read(former, present):
    old, new = (make_phantom("castings", 1, 0, style=style, size=SMALL) for style in (former, present))
    assert np.array_equal(old.pixels, new.pixels)


def test_a_set_made_under_a_former_style_name_is_taken_as_it_is(tmp_path):
    annotations = write_phantoms("castings", 2, tmp_path, 3, style="easy", size=(96, 96), workers=1)
    marker = tmp_path / "phantoms.json"
    marker.write_text(marker.read_text().replace('"easy"', '"plain"'))
    stamp = annotations.stat().st_mtime_ns
    write_phantoms("castings", 2, tmp_path, 3, style="easy", size=(96, 96), workers=1)
    assert annotations.stat().st_mtime_ns == stamp


def test_a_part_without_a_turn_or_with_one_that_is_taken_is_an_error():
    assert cycle_of({"a": Part(turns=(0, 2)), "b": Part(turns=(1,))}) == ("a", "b", "a")
    for turns in ({"a": (0,), "b": ()}, {"a": (0,), "b": (0,)}, {"a": (0,), "b": (2,)}):
        with pytest.raises(ValueError, match="turns"):
            cycle_of({name: Part(turns=of) for name, of in turns.items()})
    with pytest.raises(TypeError, match="turns"):
        Part()


def test_a_row_of_a_table_that_forgets_a_field_is_an_error():
    with pytest.raises(TypeError, match="generator"):
        PhantomKind(**{f.name: None for f in dataclasses.fields(PhantomKind) if f.init and f.name != "generator"})
    with pytest.raises(TypeError, match="share"):
        castings.CastingDefect(
            shape=defect_shapes.pore, size=(4, 9), easy_share=0, contrast=(0, 1), easy_contrast=(0, 1)
        )
    clash = dataclasses.replace(castings.CASTINGS, layout=welds.WELDS.layout)
    with pytest.raises(ValueError, match="stream or a folder"):
        checked_kinds({"welds": welds.WELDS, "castings": clash})
    with pytest.raises(ValueError, match="stream or a folder"):
        checked_kinds({"welds": welds.WELDS, "castings": dataclasses.replace(castings.CASTINGS, stream=1)})


@pytest.mark.parametrize("module", [castings, welds])
def test_shares_of_defect_kinds_sum_to_one(module):
    kinds = module.DEFECT_KINDS.values()
    assert sum(kind.share for kind in kinds) == pytest.approx(1)
    assert sum(kind.easy_share for kind in kinds) == pytest.approx(1)


def test_defect_kinds_are_drawn_by_their_shares():
    rng = np.random.default_rng(0)
    drawn = [sample_kind(rng, welds.DEFECT_KINDS, easy=True)[0] for _ in range(2000)]
    assert set(drawn) == {"pore", "slag"}
    assert drawn.count("pore") / 2000 == pytest.approx(0.75, abs=0.03)


# What each generator draws for seed 11, 160 x 128: the first parts of the cycle; per family the number of defects and
# the mean gray level of one radiograph. Whoever changes what is drawn (a part, a share, the order of random numbers)
# raises `generator` of the kind and puts the new values here.
DRAWN = {
    ("castings", 2): {
        "cycle": ("knuckle", "bracket", "ring", "wheel", "plate", "housing", "wheel", "knuckle"),
        "families": ("wheel", "plate", "housing", "knuckle", "bracket", "ring"),
        "realistic": ((2, 0.598949), (4, 0.394937), (0, 0.24719), (3, 0.413276), (3, 0.648823), (2, 0.849809)),
        "easy": ((0, 0.687657), (1, 0.481216), (3, 0.619932), (0, 0.595928), (1, 0.685713), (0, 0.726735)),
    },
    ("welds", 3): {
        "cycle": ("girth", "butt", "narrow", "girth", "butt", "narrow", "girth", "butt"),
        "families": ("butt", "narrow", "girth"),
        "realistic": ((0, 0.359129), (24, 0.444334), (5, 0.432638)),
        "easy": ((5, 0.463138), (5, 0.355978), (0, 0.533449)),
    },
    ("varied_castings", 3): {
        "cycle": ("turned_part", "tube", "ribs", "turned_part", "dome", "turned_part", "plate", "block"),
        "families": ("turned_part", "plate", "block", "tube", "ribs", "dome"),
        "realistic": ((0, 0.63072), (0, 0.460848), (2, 0.219373), (2, 0.491203), (3, 0.418172), (0, 0.464657)),
        "easy": ((1, 0.629736), (0, 0.536838), (3, 0.759394), (2, 0.40029), (1, 0.472187), (0, 0.258967)),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", list(FAMILIES))
@pytest.mark.parametrize("style", ["realistic", "easy"])
def test_what_is_drawn_changes_with_the_generator_version_alone(kind, style):
    expected = DRAWN[kind, PHANTOM_KINDS[kind].generator]
    for family, (defects, mean) in zip(expected["families"], expected[style], strict=True):
        phantom = make_phantom(kind, 11, 1, style=style, family=family, size=(160, 128))
        assert (len(phantom.labels), float(phantom.pixels.mean())) == (defects, pytest.approx(mean, rel=1e-4)), family
    assert expected["families"] == FAMILIES[kind]
    assert tuple(family_of(kind, 11, index) for index in range(8)) == expected["cycle"]
