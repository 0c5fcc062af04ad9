"""POD of simulated flaws: what counts as found, by zone, size and place, with a detector that is an oracle."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from data.coco import CocoDataset
from data.errors import InputError
from data.masks import CATEGORIES
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.decisions.part_pod import GRADES, WHOLE, ProbedPart, blind_map, fits_by_zone, flaw_rows, probe_part
from detectors.decisions.part_pod_page import write_probe
from detectors.decisions.rules import ZoneSource
from detectors.decisions.zones import DrawnZones
from radiograph.commands.simulate_pod import main

SIZE = (320, 240)


class LeftEye(torch.nn.Module):
    """Finds what was changed against the radiograph that it saw first, in the left half alone."""

    def __init__(self, first: np.ndarray) -> None:
        super().__init__()
        self.first = first

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        import cv2

        changed = (np.abs(images[0][0].numpy() - self.first) > 0.004).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(changed)
        boxes = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:].tolist() if area > 12 and x + w / 2 < 150]
        found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return [
            {"boxes": found, "scores": torch.full((len(found),), 0.9), "labels": torch.ones(len(found)).to(torch.int64)}
        ]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> ProbedPart:
    """One phantom, twelve copies; zones are its left and right halves, and an annotated defect in the middle."""
    folder = tmp_path_factory.mktemp("part")
    pixels = make_phantom("castings", 3, 1, size=SIZE).pixels
    write_radiograph(folder / "a.png", pixels, 8)
    stored = np.rint(pixels * 255).astype(np.float32) / np.float32(255)
    known: Any = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [140, 100, 40, 40], "area": 1600, "iscrowd": 0}
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1]}], [known], CATEGORIES)
    left = np.zeros(SIZE[::-1], bool)
    left[:, :150] = True
    zones = DrawnZones(stored, {"left": left, "right": ~left}, ZoneSource(file="zones.json"))
    predictor: Any = SimpleNamespace(model=LeftEye(stored), device=torch.device("cpu"), window=None)
    return probe_part(predictor, dataset, folder, 0.5, copies=12, zones=zones)


def test_flaws_are_graded_and_clear_of_known_defects(probed: ProbedPart) -> None:
    flaws = probed.dataset.annotations
    assert len(flaws) > 60
    assert {flaw.get("contrast_to_noise") for flaw in flaws} == set(GRADES)
    assert all(flaw.get("simulated") for flaw in flaws)
    for x, y, w, h in (flaw["bbox"] for flaw in flaws):
        center = np.array([x + w / 2, y + h / 2])
        assert ((center < 132) | (center > 148 + 40)).any() or ((center < (140, 100)) | (center > (180, 140))).any()


def test_what_the_detector_cannot_see_is_blind(probed: ProbedPart) -> None:
    rows = {(row.zone, row.grade): row for row in fits_by_zone(probed)}
    assert not probed.refused
    assert sum(rows["right", grade].found for grade in GRADES) <= 5  # those that reach over the middle
    strong = rows["left", GRADES[-1]]
    assert strong.found > 0.7 * strong.flaws
    whole = [rows[WHOLE, grade] for grade in GRADES]
    assert sum(row.flaws for row in whole) == len(probed.dataset.annotations)
    assert rows[WHOLE, None].flaws == len(probed.dataset.annotations)
    contrast = rows["left", None].fit
    assert contrast is not None
    assert GRADES[0] < contrast.a50 < GRADES[-1]
    assert "contrast" in rows["right", None].refused or rows["right", None].found
    assert probed.surface.all.sum() == len(probed.dataset.annotations)
    share, number = blind_map(probed, 20)
    seen = number > 1
    assert np.nanmean(share[:, :110][seen[:, :110]]) > 0.4
    assert np.nanmean(share[:, 210:][seen[:, 210:]]) < 0.05


def test_everything_written_says_simulated(probed: ProbedPart, tmp_path: Path) -> None:
    write_probe(probed, tmp_path, np.zeros(probed.shape))
    record = json.loads((tmp_path / "pod_simulated.json").read_text())
    assert record["simulated"] is True
    assert record["found"] == sum(row[8] for row in flaw_rows(probed))
    # The annotated place was never changed, so that nothing is found there.
    assert (record["annotated"]["defects"], record["annotated"]["found"]) == (1, 0)
    assert (tmp_path / "plots" / "pod_surface_annotated.png").is_file()
    assert {row["zone"] for row in record["by_zone"]} == {WHOLE, "left", "right"}
    assert (tmp_path / "plots" / "blind_map.png").is_file()
    assert "<b>simulated</b>" in (tmp_path / "pod_simulated.html").read_text()


def test_no_room_is_said(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", np.zeros((48, 64)), 8)
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": 64, "height": 48}], [], CATEGORIES)
    predictor: Any = SimpleNamespace(
        model=LeftEye(np.zeros((48, 64), np.float32)), device=torch.device("cpu"), window=None
    )
    with pytest.raises(InputError, match="no simulated flaw has room"):
        probe_part(predictor, dataset, tmp_path, 0.5)
    missing = CliRunner().invoke(main, [str(tmp_path / "nowhere")])
    assert (missing.exit_code, "no such folder" in missing.output) == (2, True)


@pytest.mark.slow
def test_the_command_on_phantoms(tmp_path: Path) -> None:
    for k in range(2):
        pixels = make_phantom("varied_castings", 1, k, size=(160, 128)).pixels
        write_radiograph(tmp_path / "part" / f"{k}.png", pixels, 8)
    done = CliRunner().invoke(main, [str(tmp_path / "part"), "--copies", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "all graded flaws are simulated" in done.output
    assert len((tmp_path / "out" / "simulated_flaws.csv").read_text().splitlines()) > 3
