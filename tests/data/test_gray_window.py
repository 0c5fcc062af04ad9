"""Windows: pydicom is the oracle of a file's own; ordinary radiographs keep every bit; dark ones become visible."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import CAPTION, CENTER, WIDTH, dark_levels, write_dark_dicom, write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from data.coco import CocoDataset
from data.errors import InputError
from data.gray_levels import used_levels
from data.gray_notes import GrayNotes, choose_window, look_at
from data.gray_window import AUTO, GrayWindow
from data.pixel_sizes import with_pixel_sizes
from data.radiograph import read_radiograph, write_radiograph
from data.radiograph_store import compact_scale, restore

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(32, 128)


def oracle(path: Path) -> np.ndarray:
    """What a DICOM viewer shows, from 0 to 1, larger is brighter."""
    dataset = pydicom.dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    if "VOILUTSequence" in dataset and "WindowCenter" not in dataset:
        shown = shown / (2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        low, high = (dataset.get("RescaleIntercept", 0) + dataset.get("RescaleSlope", 1) * v
                     for v in ((0, 4095) if dataset.PixelRepresentation == 0 else (-2048, 2047)))  # fmt: skip
        shown = (shown - low) / (high - low)  # a negative slope turns pydicom's scale over
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("rescale", [(1, 0), (2, -100), (-1, 4095), (0.5, 3)])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_file_window_shows_what_a_viewer_shows(
    tmp_path: Path, signed: int, photometric: str, rescale: tuple[float, float], function: str
) -> None:
    stored = RAMP12.astype(np.int16) - 2048 if signed else RAMP12
    middle = rescale[0] * (0 if signed else 2000) + rescale[1]
    write_dicom(
        tmp_path / "a.dcm", stored, 12, signed=signed, photometric=photometric, RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1], WindowCenter=middle, WindowWidth=701, VOILUTFunction=function,
    )  # fmt: skip
    found = read_radiograph(tmp_path / "a.dcm", window=GrayWindow("file"))
    assert np.abs(found.pixels - oracle(tmp_path / "a.dcm")).max() < 2e-5
    assert 0.3 < found.pixels.mean() < 0.7
    # Without being asked for, nothing is windowed.
    assert np.array_equal(np.sort(read_radiograph(tmp_path / "a.dcm", window=AUTO).levels, axis=None), RAMP12.ravel())
    assert read_radiograph(tmp_path / "a.dcm", window=AUTO).level_map.source == "full"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_look_up_table_shows_what_a_viewer_shows(tmp_path: Path, photometric: str) -> None:
    item = pydicom.Dataset()
    table = np.rint(np.sqrt(np.linspace(0, 1, 1000)) * 1023).astype("<u2")
    item.add_new("LUTDescriptor", "US", [1000, 1500, 10])
    item.add_new("LUTData", "OW", table.tobytes())
    write_dicom(tmp_path / "a.dcm", RAMP12, 12, photometric=photometric, VOILUTSequence=pydicom.Sequence([item]))
    found = read_radiograph(tmp_path / "a.dcm", window=GrayWindow("file"))
    assert np.abs(found.pixels - oracle(tmp_path / "a.dcm")).max() < 2e-5


def test_a_window_of_whole_levels_is_worked_out_by_hand(tmp_path: Path) -> None:
    levels = np.array([[0, 265, 266, 324, 383, 384, 65535]], np.uint16)
    write_dicom(tmp_path / "a.dcm", levels, 16, WindowCenter=CENTER, WindowWidth=WIDTH)
    found = read_radiograph(tmp_path / "a.dcm", window=GrayWindow("file"))
    # Black up to 324.5 - 0.5 - 118 / 2 = 265, white from 383 on, 118 steps between.
    assert found.pixels == pytest.approx(np.array([[0, 0, 1 / 118, 59 / 118, 1, 1, 1]]))
    assert found.full_scale == 118
    fixed = read_radiograph(tmp_path / "a.dcm", window=GrayWindow("levels", 265, 383))
    assert np.array_equal(fixed.pixels, found.pixels)


def test_a_dark_film_is_read_by_its_own_window_and_its_caption_does_not_matter(tmp_path: Path) -> None:
    levels = write_dark_dicom(tmp_path / "a.dcm")
    plain, seen = (read_radiograph(tmp_path / "a.dcm", window=window) for window in (None, AUTO))
    film = levels != CAPTION
    assert plain.pixels[film].max() < 0.006  # black
    assert (seen.level_map.source, seen.level_map.low, seen.level_map.high) == ("file", 265, 383)
    assert np.percentile(seen.pixels[film], (5, 95)) == pytest.approx((0.02, 0.93), abs=0.03)
    assert seen.pixels[~film].min() == 1
    assert seen.pixel_size_mm == (0.1, 0.1)


@pytest.mark.parametrize("window", [None, (32768, 65536), (9000, 50), ("", "")])
def test_a_dark_film_without_a_fitting_window_is_read_by_the_levels_it_uses(tmp_path: Path, window: tuple) -> None:
    levels, header = dark_levels(), {"WindowCenter": window[0], "WindowWidth": window[1]} if window else {}
    write_dicom(tmp_path / "a.dcm", levels, 16, **header)
    found = read_radiograph(tmp_path / "a.dcm", window=AUTO)
    film = levels != CAPTION
    assert found.level_map.source == "used"
    assert found.level_map.low < levels[film].min()
    assert levels[film].max() < found.level_map.high < 450  # room for a defect brighter than all else
    assert found.pixels[film].std() > 0.15
    assert len(np.unique(found.pixels[film])) == len(np.unique(levels[film]))  # nothing clipped


def test_12_bits_in_16_are_a_sliver_and_a_depth_makes_them_ordinary(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(RAMP12))
    assert read_radiograph(tmp_path / "a.png", window=AUTO).level_map.source == "used"
    stated = read_radiograph(tmp_path / "a.png", window=AUTO.with_bit_depth(12))
    assert (stated.bit_depth, stated.level_map.source) == (12, "full")
    assert np.array_equal(stated.pixels, RAMP12.astype(np.float32) / np.float32(4095))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(".png", 8), (".png", 16), (".tif", 12), (".tif", 16)]))
def test_ordinary_radiographs_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, seed: int, kind) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6)
    pixels = rng.uniform(low, low + rng.uniform(0.1, 0.4), (20, 30))
    pixels[rng.random(pixels.shape) < 0.05] = rng.integers(2)  # air, or padding
    path = tmp_path_factory.mktemp("ordinary") / f"a{kind[0]}"
    write_radiograph(path, pixels, kind[1])
    plain, seen = read_radiograph(path), read_radiograph(path, window=AUTO)
    assert seen.level_map.source == "full"
    assert np.array_equal(seen.pixels, plain.pixels)
    assert np.array_equal(plain.pixels, plain.levels.astype(np.float32) / np.float32(2 ** kind[1] - 1))


WINDOWS = [AUTO, GrayWindow("fitted"), GrayWindow("percentiles", 1, 99), GrayWindow("levels", 300, 340)]


@pytest.mark.parametrize("window", WINDOWS)
def test_windowed_gray_values_are_whole_levels(tmp_path: Path, window: GrayWindow) -> None:
    write_dicom(tmp_path / "a.dcm", dark_levels(), 16)
    found = read_radiograph(tmp_path / "a.dcm", window=window)
    levels, full = compact_scale(found.pixels, found.full_scale)
    assert full == found.full_scale < 500
    assert np.array_equal(restore(levels, full), found.pixels)
    assert 0 <= found.pixels.min() < 0.2
    assert found.pixels.max() == 1


@pytest.mark.parametrize("window", [*WINDOWS, GrayWindow("file")])
def test_gray_values_go_back_to_levels_that_show_the_same(tmp_path: Path, window: GrayWindow) -> None:
    write_dark_dicom(tmp_path / "a.dcm", VOILUTFunction="SIGMOID")
    found = read_radiograph(tmp_path / "a.dcm", window=window)
    back = found.level_map.levels_of(found.pixels)
    assert np.array_equal(found.level_map(back), found.pixels)
    inside = (found.pixels > 0) & (found.pixels < 1)
    assert np.abs(back[inside] - found.levels[inside].astype(np.int64)).max() <= (0 if window.kind != "file" else 1)


def test_percentiles_leave_a_caption_out_but_not_air(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", dark_levels(), 16)
    assert read_radiograph(tmp_path / "a.dcm", window=GrayWindow("percentiles", 0, 100)).level_map.high < 400
    pixels = np.linspace(0.2, 0.6, 101, dtype=np.float32).reshape(1, -1)
    write_radiograph(tmp_path / "b.png", pixels, 16)
    stretched = read_radiograph(tmp_path / "b.png", window=GrayWindow("percentiles", 10, 90)).pixels
    assert stretched[0, [0, 10, 50, 90, 100]] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-4)
    write_radiograph(tmp_path / "c.png", np.full((3, 3), 0.4), 8)
    for kind in (GrayWindow("percentiles", 1, 99), GrayWindow("fitted"), AUTO):  # nothing to stretch
        assert np.array_equal(
            read_radiograph(tmp_path / "c.png", window=kind).pixels, np.full((3, 3), 102 / 255, np.float32)
        )


@pytest.mark.parametrize(("kind", "low", "high"), [
    ("percentiles", 50, 50), ("percentiles", 0, 101), ("levels", 5, 4), ("levels", 0.5, 9), ("levels", 0, 70000),
    ("levels", None, None), ("auto", 1, 2), ("full", 0, 255),
])  # fmt: skip
def test_windows_that_make_no_sense_are_refused(kind: str, low: float | None, high: float | None) -> None:
    with pytest.raises(InputError, match=f"gray window {kind}"):
        GrayWindow(kind, low, high)


def test_a_file_without_a_window_is_refused_where_its_window_is_asked_for(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP12, 12)
    with pytest.raises(InputError, match=r"a\.dcm: states no window of its own \(VOI\)"):
        read_radiograph(tmp_path / "a.dcm", window=GrayWindow("file"))


def test_used_levels_of_noise_defects_and_captions() -> None:
    rng = np.random.default_rng(0)
    levels = np.rint(rng.normal(300, 10, (300, 300))).astype(np.uint16)
    found = used_levels(levels, (0, 100))
    assert (found.low, found.high, found.far, found.caption) == (levels.min(), levels.max(), 0, None)
    levels[:30, :30] = 4095  # 1 %
    found = used_levels(levels)
    assert (found.low, found.caption) == (pytest.approx(269, abs=4), 4095)
    assert found.high == pytest.approx(331, abs=4)
    assert found.far == pytest.approx(0.01, abs=0.001)
    assert used_levels(np.full((4, 4), 7, np.uint8)) == used_levels(np.full((2, 2), 7, np.uint16))


# What is said of them.


def notes_of(path: Path, window: GrayWindow | None) -> list[str]:
    return look_at([path], window).lines()


def test_what_was_done_to_a_dark_film_is_said(tmp_path: Path) -> None:
    write_dark_dicom(tmp_path / "a.dcm")
    black, caption, contradiction = notes_of(tmp_path / "a.dcm", GrayWindow("full"))
    assert "a.dcm: uses levels 259 to 382 of 65535, 0.19 % of the scale: it looks empty" in black
    assert "burnt-in caption" in caption
    assert "level 65535" in caption
    assert "asks for levels 265 to 383" in contradiction
    rescued, caption = notes_of(tmp_path / "a.dcm", AUTO)
    assert "its own window (center 324.5, width 119) counts: level 265 is black, 383 white" in rescued
    assert "becomes gray value 1.00" in caption


def test_a_window_that_contradicts_the_runs_is_said_and_one_that_agrees_is_not(tmp_path: Path) -> None:
    write_dark_dicom(tmp_path / "a.dcm")
    assert not any("which contradicts" in line for line in notes_of(tmp_path / "a.dcm", GrayWindow("levels", 260, 390)))
    lines = notes_of(tmp_path / "a.dcm", GrayWindow("levels", 1000, 1200))
    assert any("contradicts the run's window of levels 1000 to 1200" in line for line in lines)
    assert any("none of them in the run's window of levels 1000 to 1200: it looks empty" in line for line in lines)


def test_gray_values_beyond_those_trained_on_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_radiograph(tmp_path / "trained.png", rng.uniform(0.3, 0.6, (40, 40)))
    write_radiograph(tmp_path / "like.png", rng.uniform(0.27, 0.63, (40, 40)))
    write_radiograph(tmp_path / "bright.png", rng.uniform(0.7, 0.9, (40, 40)))
    window, notes = choose_window(AUTO, [tmp_path / "trained.png"])
    assert (window.kind, notes.lines()) == ("auto", [])
    assert window.trained_on == pytest.approx((0.3, 0.6), abs=0.01)
    assert notes_of(tmp_path / "like.png", window) == []
    (line,) = notes_of(tmp_path / "bright.png", window)
    assert "bright.png: 1e+02 % of its gray values" in line or "bright.png: 100 % of its gray values" in line
    assert "outside of those trained on (0.30" in line


def test_a_run_on_dark_films_alone_reads_all_films_so(tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.dcm" for k in range(3)]
    for seed, file in enumerate(files):
        write_dark_dicom(file, seed)
    window, notes = choose_window(AUTO, files)
    assert window.kind == "fitted"
    assert len(notes.lines()) == 2
    assert all("(and 2 more such radiographs)" in line for line in notes.lines())
    write_radiograph(tmp_path / "ordinary.png", np.random.default_rng(0).random((30, 30)), 16)
    assert choose_window(AUTO, [*files, tmp_path / "ordinary.png"])[0].kind == "auto"
    # Through the chosen window they are as they were in training.
    assert notes_of(files[0], window)[0].startswith(f"{files[0]}: uses levels")
    assert not any("trained on" in line for line in notes_of(files[0], window))


def test_ordinary_radiographs_give_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_radiograph(tmp_path / "a.png", np.random.default_rng(0).uniform(0.2, 0.8, (30, 30)), 16)
    write_radiograph(tmp_path / "b.png", np.full((30, 30), 0.01), 8)
    notes = GrayNotes()
    for name in ("a.png", "b.png"):
        notes.add(name, read_radiograph(tmp_path / name, window=AUTO))
    notes.warn()
    assert capsys.readouterr() == ("", "")


def test_pixel_sizes_come_out_of_headers_where_a_record_states_none(tmp_path: Path) -> None:
    write_dark_dicom(tmp_path / "a.dcm")
    write_dark_dicom(tmp_path / "b.dcm", ImagerPixelSpacing=[0.1, 0.3])
    write_radiograph(tmp_path / "c.png", np.zeros((2, 2)))
    images = [
        {"id": k, "file_name": name, "width": 160, "height": 120} for k, name in enumerate(("a.dcm", "b.dcm", "c.png"))
    ]
    images.append(images[0] | {"id": 9, "pixel_size_mm": 0.7})
    found = with_pixel_sizes(CocoDataset(images, [], []), tmp_path)
    assert [image.get("pixel_size_mm") for image in found.images] == [0.1, None, None, 0.7]
