"""What is written back is read again: by this project, and by pydicom alone."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom

from data.coco import read_coco
from data.errors import InputError
from data.formats.dicom_results import Indication, read_indications, read_source, structured_report, write_dicom_file
from data.radiograph import read_radiograph, write_radiograph
from detectors.qualification.write_back import write_back

TAGS = {
    "StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "PatientName": "Housing^17", "PatientID": "P-17",
    "PixelSpacing": [0.1, 0.1], "Modality": "DX",
}  # fmt: skip


def film(path: Path, **tags: object) -> np.ndarray:
    levels = (np.random.default_rng(0).random((60, 81)) * 4095).astype(np.uint16)
    write_dicom(path, levels, 12, **{**TAGS, **tags})
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00140025, "ST", "as cast")  # ComponentManufacturingProcedure
    dataset.add_new(0x00140030, "DS", ["12.5"])
    dataset.save_as(path, enforce_file_format=True)
    return levels


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "film.dcm")
    write_radiograph(tmp_path / "in" / "plain.png", np.full((40, 50), 0.5, np.float32))
    images = [
        {"id": 1, "file_name": str(tmp_path / "in" / "film.dcm"), "width": 81, "height": 60, "pixel_size_mm": 0.1},
        {"id": 2, "file_name": str(tmp_path / "in" / "plain.png"), "width": 50, "height": 40},
    ]
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [10.5, 20, 30, 12.5], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.2},
        {"image_id": 2, "category_id": 1, "bbox": [3, 4, 10, 11], "score": 0.8},
    ]
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "images.json").write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "pore"}]}))
    (folder / "detections.json").write_text(json.dumps(results))
    return folder


def test_indications_go_into_the_study_and_come_back(predictions: Path, tmp_path: Path) -> None:
    before = (tmp_path / "in" / "film.dcm").read_bytes()
    decided = tmp_path / "acceptance.json"
    findings = [{"rule": "largest pore", "verdict": "reject", "indications": [{"detection": 0}]}]
    rows = [{"image_id": 1, "verdict": "reject", "findings": findings}]
    decided.write_text(json.dumps({"radiographs": rows}))
    assert write_back(predictions, tmp_path / "out", 0.5, decided) == 2
    assert (tmp_path / "in" / "film.dcm").read_bytes() == before
    image, verdict, (found,) = read_indications(tmp_path / "out" / "film_report.dcm")
    assert (image, verdict) == ("1.2.3", "reject")
    assert found == Indication("pore", (10.5, 20.0, 40.5, 32.5), pytest.approx(3.0), pytest.approx(0.9), "largest pore")
    report = pydicom.dcmread(tmp_path / "out" / "film_report.dcm")
    capture = pydicom.dcmread(tmp_path / "out" / "film_capture.dcm")
    for made in (report, capture):
        assert (made.StudyInstanceUID, str(made.PatientName), made.PatientID) == ("1.2.3.4", "Housing^17", "P-17")
        assert made[0x00140025].value == "as cast"
        assert made[0x00140030].value == 12.5
        assert made.SeriesInstanceUID != "1.2.3.5"
    assert report.SOPInstanceUID != capture.SOPInstanceUID
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    drawn = capture.pixel_array
    assert drawn.shape == (60, 81)
    assert (drawn[19, 11:40] == 255).all()  # the line over the box
    assert read_radiograph(tmp_path / "out" / "film_capture.dcm").levels.tolist() == drawn.tolist()


def test_other_files_get_a_sidecar_that_can_be_read(predictions: Path, tmp_path: Path) -> None:
    write_back(predictions, tmp_path / "out", 0.5)
    sidecar = read_coco(tmp_path / "out" / "plain.coco.json")
    (annotation,) = sidecar.annotations
    assert annotation["bbox"] == [3, 4, 10, 11]
    assert annotation["score"] == 0.8
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [row["files"] for row in index["radiographs"]] == [
        ["film_capture.dcm", "film_report.dcm"],
        ["plain.coco.json"],
    ]


def test_a_report_without_indications_says_so(tmp_path: Path) -> None:
    film(tmp_path / "film.dcm")
    write_dicom_file(tmp_path / "report.dcm", structured_report(read_source(tmp_path / "film.dcm"), []))
    assert read_indications(tmp_path / "report.dcm") == ("1.2.3", "", [])


def test_bad_files_are_refused_and_nothing_is_written(predictions: Path, tmp_path: Path) -> None:
    film(tmp_path / "in" / "film.dcm", StudyInstanceUID="")
    with pytest.raises(InputError, match="StudyInstanceUID missing"):
        write_back(predictions, tmp_path / "out", 0.5)
    assert not (tmp_path / "out").exists()
    dataset = pydicom.dcmread(tmp_path / "in" / "film.dcm")
    del dataset.PixelData
    dataset.StudyInstanceUID = "1.2.3.4"
    dataset.save_as(tmp_path / "in" / "film.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="without pixel data"):
        write_back(predictions, tmp_path / "out", 0.5)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="not a report"):
        read_indications(tmp_path / "in" / "film.dcm")
