"""Simulated scans against numbers worked out otherwise: chords, attenuation, volumes, and what a set holds."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.volumes import ct_scan
from data.volumes.ct_drilled_parts import blind_hole
from data.volumes.ct_parts import PARTS, make_part
from data.volumes.ct_phantom import make_ct_phantom
from data.volumes.ct_pores import draw_pore, ellipsoid, rasterize_pores, scatter_pores, subtract_pores
from data.volumes.ct_scan import Scan, beam, fade_ends, project, reconstruct
from data.volumes.ct_set import write_ct_set
from data.volumes.labels import AIR, MATERIAL, OPEN_PORE, PORE
from data.volumes.manifest import read_manifest
from data.volumes.reading import read_volume
from data.volumes.solids import FAR, Room, Section, Solid, contains, path_lengths, union_length, voxelize

ANGLES = np.array([0.0, 0.4, 1.2, np.pi / 2, 2.5], np.float32)
OFFSETS = np.linspace(-20, 20, 41).astype(np.float32)


def test_the_union_of_intervals() -> None:
    starts = np.array([[0.0, 5.0], [2.0, 1.0], [np.inf, 1.5]])
    ends = np.array([[3.0, 6.0], [7.0, 2.0], [-np.inf, 1.8]])
    assert union_length(starts, ends).tolist() == [7.0, 2.0]


def test_the_chord_of_a_circle() -> None:
    disc = Solid("prism", Section("ellipse", (0, 0), (10, 10)), -5, 5)
    lengths = path_lengths([disc], np.array([0.0, 6.0], np.float32), ANGLES, OFFSETS)
    expected = 2 * np.sqrt(np.maximum(100 - OFFSETS**2, 0))
    np.testing.assert_allclose(lengths[0], np.broadcast_to(expected, lengths[0].shape), atol=2e-3)
    assert not lengths[1].any()


def test_a_turned_rectangle_seen_along_its_sides() -> None:
    turn = 0.3
    box = Solid("prism", Section("rectangle", (0, 0), (4, 9), turn), -1, 1)
    # Its x side is turned by `turn`; rays of this angle run across it, with the thickness 8.
    lengths = path_lengths([box], np.zeros(1, np.float32), np.array([turn, turn + np.pi / 2], np.float32), OFFSETS)
    assert lengths[0, 0, 20] == pytest.approx(8, abs=1e-3) or lengths[0, 0, 20] == pytest.approx(18, abs=1e-3)
    assert sorted(np.round(lengths[0, :, 20], 2).tolist()) == [8.0, 18.0]


@pytest.mark.parametrize(("kind", "family"), [(kind, family) for kind in PARTS for family in PARTS[kind]])
def test_chords_agree_with_a_sum_over_points(kind: str, family: str) -> None:
    solids = make_part(kind, family, np.random.default_rng(3), Room(radius=18, height=9))
    heights = np.array([-6.3, 0.2, 5.1], np.float32)
    angles = ANGLES[1:3]
    lengths = path_lengths(solids, heights, angles, OFFSETS[5:36:5])
    steps = np.arange(-30, 30, 0.02) + 0.01
    for k, z in enumerate(heights):
        for a, angle in enumerate(angles):
            for u, offset in enumerate(OFFSETS[5:36:5]):
                y = offset * np.sin(angle) + steps * np.cos(angle)
                x = offset * np.cos(angle) - steps * np.sin(angle)
                inside = np.zeros(len(steps), bool)
                hole = np.zeros(len(steps), bool)
                for solid in solids:
                    figure = solid.at(float(z))
                    if figure is not None:
                        hit = figure.contains(y.astype(np.float32), x.astype(np.float32))
                        hole |= hit if solid.hole else False
                        inside |= False if solid.hole else hit
                assert lengths[k, a, u] == pytest.approx((inside & ~hole).sum() * 0.02, abs=0.12)


@pytest.mark.parametrize(("kind", "family"), [(kind, family) for kind in PARTS for family in PARTS[kind]])
def test_points_are_inside_where_voxels_are(kind: str, family: str) -> None:
    solids = make_part(kind, family, np.random.default_rng(6), Room(radius=12, height=8))
    heights, side = np.arange(-9.0, 9.5).astype(np.float32), np.arange(-13.0, 13.5).astype(np.float32)
    grid = np.stack(np.meshgrid(heights, side, side, indexing="ij"), axis=-1)
    found = contains(solids, grid.reshape(-1, 3)).reshape(grid.shape[:3])
    assert (found != voxelize(solids, heights, side)).mean() < 1e-3


def test_pores_shorten_the_rays_by_their_chords() -> None:
    rng = np.random.default_rng(0)
    block = [Solid("prism", Section("rectangle", (0, 0), (18, 18)), -9, 9)]
    for kind in ("gas", "shrinkage", "lack_of_fusion"):
        pore = draw_pore(kind, rng, 6.0).moved(np.array([0.5, 2, -3], np.float32))
        heights = np.array([0.0, 1.0], np.float32)
        lengths = path_lengths(block, heights, ANGLES, OFFSETS)
        before = lengths.copy()
        subtract_pores(lengths, [pore], block, heights, ANGLES, OFFSETS)
        steps = (np.arange(-30, 30, 0.05) + 0.025).astype(np.float32)
        for k, z in enumerate(heights):
            for a, angle in enumerate(ANGLES):
                y = OFFSETS[:, None] * np.sin(angle) + steps * np.cos(angle)
                x = OFFSETS[:, None] * np.cos(angle) - steps * np.sin(angle)
                points = np.stack([np.full_like(y, z), y, x], axis=-1)
                expected = pore.contains(points).sum(axis=1) * 0.05
                np.testing.assert_allclose(before[k, a] - lengths[k, a], expected, atol=0.25)


def test_an_open_pore_takes_away_what_is_in_the_part_alone() -> None:
    block = [Solid("prism", Section("rectangle", (0, 0), (10, 10)), -9, 9)]
    shape, reach = ellipsoid(np.random.default_rng(0), np.array([3.0, 3.0, 3.0]))
    pore = draw_pore("gas", np.random.default_rng(0), 6.0)
    pore = type(pore)("gas", np.array([[0, 0, 10]], np.float32), shape[None], reach[None], surface_open=True)
    lengths = path_lengths(block, np.zeros(1, np.float32), np.array([np.pi / 2], np.float32), OFFSETS)
    subtract_pores(lengths, [pore], block, np.zeros(1, np.float32), np.array([np.pi / 2], np.float32), OFFSETS)
    # The middle ray runs along x through the ball's center on the face: half of its 6 voxels were metal.
    assert lengths[0, 0, 20] == pytest.approx(17, abs=0.01)


@pytest.mark.parametrize("kind", ["gas", "lack_of_fusion"])
def test_volumes_of_pores_are_those_of_ellipsoids(kind: str) -> None:
    axis = (np.arange(33) - 16).astype(np.float32)
    block = [Solid("prism", Section("rectangle", (0, 0), (16, 16)), -16, 16)]
    part = voxelize(block, axis, axis)
    for seed in range(5):
        pore = draw_pore(kind, np.random.default_rng(seed), 10.0)
        numbers, volumes = rasterize_pores([pore], block, axis, axis, part)
        assert volumes[0] == pytest.approx(np.pi / 6 * 1000, rel=0.03)
        assert (numbers == 1).sum() == pytest.approx(np.pi / 6 * 1000, rel=0.08)  # on whole voxels


def test_blind_holes_end_where_they_should() -> None:
    ends = {"flat": 0, "deeper": 0}
    for seed in range(40):
        upward = seed % 2 == 0
        holes = blind_hole(np.random.default_rng(seed), 1.0, -2.0, 4.0, 3.0, upward)
        block = [Solid("prism", Section("rectangle", (0, 0), (12, 12)), -15, 15), *holes]
        along = np.arange(-14.75, 15, 0.5)
        line = np.stack([along, np.full_like(along, 1.0), np.full_like(along, -2.0)], axis=1).astype(np.float32)
        empty = along[~contains(block, line)]
        assert (np.diff(empty) == 0.5).all()  # one hole, without a wall across it
        assert (empty[-1] if upward else empty[0]) == (14.75 if upward else -14.75)  # open to one face
        depth = 3.0 - empty[0] if upward else empty[-1] - 3.0
        assert -0.5 <= depth <= 0.8 * 4
        ends["deeper" if depth > 1 else "flat"] += 1
    assert min(ends.values()) > 5


def test_pores_keep_their_distance_and_open_ones_break_through() -> None:
    block = [Solid("prism", Section("rectangle", (0, 0), (18, 18)), -18, 18)]
    limits = np.full(3, -18, np.float32), np.full(3, 18, np.float32)
    pores = scatter_pores("ct_castings", block, np.random.default_rng(1), 40, *limits)
    assert len(pores) > 20
    axis = (np.arange(45) - 22).astype(np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    for pore in pores:
        outside = pore.contains(grid) & (np.abs(grid) > 18).any(axis=-1)
        assert not outside.any() or pore.surface_open
        assert contains(block, pore.centers[:1])[0]
    assert any(pore.surface_open for pore in pores)


def plain_scan(**changes: object) -> Scan:
    return Scan("Al", 0.1, 180, noise=0, hardening=0, rings=0, blur=0.0, scatter=0.0, **changes)


def cylinder_scan(scan: Scan, monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[np.ndarray, float]:
    """Return the reconstructed middle slice of a cylinder of radius 30 and the attenuation of a thin layer a voxel."""
    axis = (np.arange(80) - 39.5).astype(np.float32)
    offsets = (np.arange(90) - 44.5).astype(np.float32)
    angles = (np.pi * np.arange(scan.projections) / scan.projections).astype(np.float32)
    disc = [Solid("prism", Section("ellipse", (0, 0), (30, 30)), -FAR, FAR)]
    lengths = path_lengths(disc, np.zeros(4, np.float32), angles, offsets)
    field = reconstruct(project(lengths, scan, np.random.default_rng(0)), angles, offsets, axis)
    return field.mean(axis=0), beam(scan.material)[2] * scan.voxel_mm


def test_a_corrected_beam_gives_the_attenuation_of_the_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct_scan, "HARDENING_LEFT", (0.0, 0.5, 1.0))
    monkeypatch.setattr(ct_scan, "NOISE_PHOTONS", (1e7,) * 3)
    monkeypatch.setattr(ct_scan, "RING_SIGMA", (0.0,) * 3)
    image, metal = cylinder_scan(plain_scan())
    assert image[30:50, 30:50].mean() == pytest.approx(metal, rel=0.02)
    assert image[38:42, 12:16].mean() == pytest.approx(metal, rel=0.02)
    assert abs(image[38:42, 2:6].mean()) < 0.02 * metal


def test_an_uncorrected_beam_cups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct_scan, "NOISE_PHOTONS", (1e7,) * 3)
    monkeypatch.setattr(ct_scan, "RING_SIGMA", (0.0,) * 3)
    scan = Scan("steel", 0.05, 180, noise=0, hardening=2, rings=0, blur=0.0, scatter=0.0)
    image, metal = cylinder_scan(scan)
    middle, rim = image[37:43, 37:43].mean(), image[38:42, 12:16].mean()
    assert middle < 0.95 * rim
    assert middle < 0.9 * metal


def test_noise_falls_with_photons_and_rings_do_not() -> None:
    quiet, loud = (cylinder_scan(plain_scan())[0], cylinder_scan(Scan("Al", 0.1, 180, 2, 0, 0, 0.0, 0.0))[0])
    ringed, _ = cylinder_scan(Scan("Al", 0.1, 180, 0, 0, 2, 0.0, 0.0))
    inner = (slice(25, 55),) * 2
    assert loud[inner].std() > 2 * quiet[inner].std()
    assert ringed[inner].std() > 2 * quiet[inner].std()


def test_the_transmission_is_beer_lamberts_for_thin_layers() -> None:
    thickness, attenuation, thin = beam("Ti")
    assert attenuation[0] == pytest.approx(0, abs=1e-6)
    assert np.interp(1e-3, thickness, attenuation) / 1e-3 == pytest.approx(thin, rel=0.05)
    assert (np.diff(attenuation, 2) < 1e-4).all()  # ever flatter: the beam hardens


def test_a_volume_is_a_function_of_its_arguments() -> None:
    one = make_ct_phantom("ct_castings", 4, 1, size=(40, 32))
    same = make_ct_phantom("ct_castings", 4, 1, size=(40, 32))
    np.testing.assert_array_equal(one.values, same.values)
    np.testing.assert_array_equal(one.truth, same.truth)
    other = make_ct_phantom("ct_castings", 4, 1, size=(40, 32), quality="poor")
    np.testing.assert_array_equal(one.truth, other.truth)  # the same part, scanned again
    assert (one.values != other.values).any()


def test_less_exposure_and_a_cone_beam_scan_the_same_part_worse() -> None:
    usual = make_ct_phantom("ct_am", 4, 1, size=(40, 32), family="cube", pores=3)
    dim = make_ct_phantom("ct_am", 4, 1, size=(40, 32), family="cube", pores=3, exposure=0.01)
    np.testing.assert_array_equal(usual.truth, dim.truth)
    corner = np.s_[:, :5, :5]  # air, far from the blurred surface
    assert dim.values[corner].std() > 2 * usual.values[corner].std()
    air = usual.truth == AIR
    cone = make_ct_phantom("ct_am", 4, 1, size=(40, 32), family="cube", pores=3, cone=0.6)
    np.testing.assert_array_equal(usual.truth, cone.truth)
    means = [[scan.values[z][usual.truth[z] == MATERIAL].mean() for z in (6, 16)] for scan in (usual, cone)]
    assert means[1][0] < means[0][0] - 0.05 * (means[0][0] - usual.values[air].mean())  # faded near the end
    assert means[1][1] == pytest.approx(means[0][1], rel=0.01)  # and not in the middle


def test_a_faded_end_by_hand() -> None:
    field = np.ones((5, 2, 2), np.float32)
    faded = fade_ends(field, 0.4)  # a constant stays itself when blurred
    assert faded[:, 0, 0] == pytest.approx([0.8, 0.95, 1.0, 0.95, 0.8])
    assert fade_ends(field, 0.0) is field


def test_labels_and_numbers_say_the_same() -> None:
    phantom = make_ct_phantom("ct_am", 2, 1, size=(48, 32), pores=20)
    np.testing.assert_array_equal(phantom.numbers > 0, (phantom.truth == PORE) | (phantom.truth == OPEN_PORE))
    assert set(np.unique(phantom.truth)) <= {AIR, MATERIAL, PORE, OPEN_PORE}
    for number, pore in enumerate(phantom.pores, start=1):
        kinds = np.unique(phantom.truth[phantom.numbers == number])
        assert kinds.tolist() in ([], [OPEN_PORE if pore.surface_open else PORE])
    dark = phantom.values[phantom.truth == PORE].mean()
    assert phantom.values[phantom.truth == AIR].mean() < dark < phantom.values[phantom.truth == MATERIAL].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "ct_blades"}, "choose one of"),
        ({"family": "wheel"}, "family 'wheel' of ct_castings"),
        ({"size": (16, 64)}, "32 voxels each"),
        ({"quality": "bad"}, "quality 'bad'"),
        ({"projections": 1}, "projections 1"),
        ({"exposure": 0.0}, "exposure 0.0"),
        ({"cone": 1.5}, "cone 1.5"),
    ],
)
def test_arguments_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_ct_phantom(**({"kind": "ct_castings", "seed": 0, "index": 0} | arguments))


def test_a_set_is_whole_or_written_anew(tmp_path: Path) -> None:
    arguments = {"size": (40, 32), "workers": 1}
    manifest = write_ct_set("ct_castings", 2, tmp_path / "set", 5, **arguments)
    entries = read_manifest(manifest)
    labeled = entries[1].labeled()
    assert labeled.volume.shape == labeled.labels.shape == (32, 40, 40)
    assert labeled.volume.voxel_mm is not None
    record = json.loads(manifest.read_text())["volumes"][1]
    assert record["pore_voxels"] == (labeled.labels == PORE).sum()
    stamp = manifest.stat().st_mtime_ns
    assert write_ct_set("ct_castings", 2, tmp_path / "set", 5, **arguments).stat().st_mtime_ns == stamp
    (tmp_path / "set" / "labels_0002.tif").unlink()
    assert write_ct_set("ct_castings", 2, tmp_path / "set", 5, **arguments).stat().st_mtime_ns != stamp
    assert read_volume(tmp_path / "set" / "labels_0002.tif").shape == (32, 40, 40)
    with pytest.raises(InputError, match="other arguments"):
        write_ct_set("ct_castings", 3, tmp_path / "set", 5, **arguments)
    table = (tmp_path / "set" / "pores_0001.csv").read_text().splitlines()
    assert table[0].startswith("id,kind,open,center_z")
