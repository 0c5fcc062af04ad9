"""Write what was found back beside a DICOM or DICONDE file: a secondary capture and a structured report of its study.

The file itself is never touched. Both objects belong to its study, each in a series of its own, and carry its DICONDE
tags (group 0014). The report is a Comprehensive SR (PS3.3 A.35.3): one container an indication, with its kind, length
in mm, score and rule, and its box as a polyline on the radiograph. Conformance to DICONDE (ASTM E2339) is not claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

from data.errors import InputError
from data.files import atomic_path
from data.formats.dicom import is_dicom, read_header

STUDY = {  # what ties an object to its study; empty where the file does not state it (type 2)
    "PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": "", "StudyInstanceUID": None,
    "StudyDate": "", "StudyTime": "", "ReferringPhysicianName": "", "StudyID": "", "AccessionNumber": "",
}  # fmt: skip
OPTIONAL = ("StudyDescription", "PatientComments", "SpecificCharacterSet")
DICONDE_GROUP = 0x0014
SCHEME = "99RADIOGRAPH"  # a private coding scheme, as PS3.3 8.2 asks for of private codes
MANUFACTURER = "radiograph-detectors"
MILLIMETER, ONE = ("mm", "UCUM", "millimeter"), ("1", "UCUM", "no units")


@dataclass(frozen=True)
class Indication:
    """One indication.

    Attributes:
        kind: its class.
        box: x1 y1 x2 y2 in pixels.
        length_mm: its longer side in mm, None where the pixel size is unknown.
        score: in [0, 1].
        rule: the rule that decided on it, empty without one.

    """

    kind: str
    box: tuple[float, float, float, float]
    length_mm: float | None
    score: float
    rule: str = ""


def read_source(path: Path) -> Dataset:
    """Return the header of a DICOM file that results are written for. Raises InputError."""
    return read_header(path, ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID"))


def secondary_capture(source: Dataset, gray: np.ndarray, when: datetime | None = None) -> Dataset:
    """Return a secondary capture of gray uint8 [H, W], annotations burnt in, that belongs to the study of `source`."""
    made = _of_study(source, uid.SecondaryCaptureImageStorage, "SC", when or datetime.now(UTC))
    made.Modality = source.get("Modality") or "OT"
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.DerivationDescription = "Indications of a detector, drawn in"
    made.SourceImageSequence = Items([_reference(source)])
    made.PatientOrientation = made.Laterality = ""
    made.Rows, made.Columns = gray.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    data = np.ascontiguousarray(gray, np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"
    return made


def structured_report(
    source: Dataset, indications: Sequence[Indication], verdict: str = "", when: datetime | None = None
) -> Dataset:
    """Return a Comprehensive SR with the indications in the radiograph `source`, and a verdict if there is one."""
    when = when or datetime.now(UTC)
    made = _of_study(source, uid.ComprehensiveSRStorage, "SR", when)
    made.Modality = "SR"
    made.ReferencedPerformedProcedureStepSequence = Items([])
    made.PerformedProcedureCodeSequence = Items([])
    made.CompletionFlag, made.VerificationFlag = "PARTIAL", "UNVERIFIED"
    made.ContentDate, made.ContentTime = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    series = Dataset()
    series.SeriesInstanceUID = source.get("SeriesInstanceUID") or made.SeriesInstanceUID
    series.ReferencedSOPSequence = Items([_reference(source)])
    evidence = Dataset()
    evidence.StudyInstanceUID = source.StudyInstanceUID
    evidence.ReferencedSeriesSequence = Items([series])
    made.CurrentRequestedProcedureEvidenceSequence = Items([evidence])
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = _code("REPORT", SCHEME, "Indications of a detector")
    content = [_text("VERDICT", "Verdict by rules", verdict)] if verdict else []
    content += [_indication(source, number, one) for number, one in enumerate(indications, start=1)]
    if not content:
        content = [_text("NONE", "Result", "No indications")]
    made.ContentSequence = Items(content)
    return made


def write_dicom_file(path: Path, dataset: Dataset) -> None:
    """Write an object atomically."""
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def read_indications(path: Path) -> tuple[str, str, list[Indication]]:
    """Return the SOP instance UID of the radiograph, the verdict and the indications of a report written here.

    Raises InputError for a file that is no such report.
    """
    if not path.is_file() or not is_dicom(path):
        raise InputError(f"{path}: not a DICOM file; give a report that radiograph write-back wrote")
    try:
        report = pydicom.dcmread(path)
        if report.SOPClassUID != uid.ComprehensiveSRStorage:
            raise ValueError("no Comprehensive SR")
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        verdict, found = "", []
        for item in report.ContentSequence:
            code = item.ConceptNameCodeSequence[0]
            if code.CodingSchemeDesignator != SCHEME:
                raise ValueError(f"coding scheme {code.CodingSchemeDesignator}")
            if code.CodeValue == "VERDICT":
                verdict = str(item.TextValue)
            elif code.CodeValue == "INDICATION":
                found.append(_read_indication(item))
        return str(evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID), verdict, found
    except Exception as error:  # a report of others may lack anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a report that radiograph write-back wrote ({reason})") from error


def _read_indication(item: Dataset) -> Indication:
    values = {inner.ConceptNameCodeSequence[0].CodeValue: inner for inner in item.ContentSequence}
    points = [float(value) for value in values["BOX"].GraphicData]

    def number(name: str) -> float | None:
        return float(values[name].MeasuredValueSequence[0].NumericValue) if name in values else None

    box = (min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2]))
    rule = str(values["RULE"].TextValue) if "RULE" in values else ""
    return Indication(str(values["KIND"].TextValue), box, number("LENGTH"), number("SCORE") or 0.0, rule)


def _of_study(source: Dataset, sop_class: uid.UID, what: str, when: datetime) -> Dataset:
    """Return an object of the study of `source`, in a series of its own, with the DICONDE tags of `source`."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for name, default in STUDY.items():
        setattr(made, name, source.get(name) if source.get(name) is not None else default)
    for name in OPTIONAL:
        if name in source:
            setattr(made, name, source.get(name))
    for element in source:
        if element.tag.group == DICONDE_GROUP:
            made.add(element)
    seeds = [str(source.SOPInstanceUID), what, when.isoformat()]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=[*seeds, "object"])
    made.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[*seeds, "series"])
    made.SeriesNumber, made.InstanceNumber = (901, 1) if what == "SC" else (902, 1)
    made.Manufacturer = MANUFACTURER
    made.InstanceCreationDate, made.InstanceCreationTime = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    return made


def _reference(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference


def _code(value: str, scheme: str, meaning: str) -> Items:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning[:64]
    return Items([code])


def _item(kind: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = _code(value, SCHEME, meaning)
    return item


def _text(value: str, meaning: str, text: str) -> Dataset:
    item = _item("TEXT", value, meaning)
    item.TextValue = text
    return item


def _number(value: str, meaning: str, number: float, unit: tuple[str, str, str]) -> Dataset:
    measured = Dataset()
    measured.NumericValue = f"{number:.6g}"
    measured.MeasurementUnitsCodeSequence = _code(*unit)
    item = _item("NUM", value, meaning)
    item.MeasuredValueSequence = Items([measured])
    return item


def _indication(source: Dataset, number: int, one: Indication) -> Dataset:
    item: Any = _item("CONTAINER", "INDICATION", f"Indication {number}")
    item.ContinuityOfContent = "SEPARATE"
    image = Dataset()
    image.RelationshipType, image.ValueType = "SELECTED FROM", "IMAGE"
    image.ReferencedSOPSequence = Items([_reference(source)])
    box = _item("SCOORD", "BOX", "Box on the radiograph")
    x1, y1, x2, y2 = one.box
    box.GraphicType, box.GraphicData = "POLYLINE", [x1, y1, x2, y1, x2, y2, x1, y2, x1, y1]
    box.ContentSequence = Items([image])
    content = [_text("KIND", "Kind", one.kind), _number("SCORE", "Score", one.score, ONE), box]
    if one.length_mm is not None:
        content.insert(1, _number("LENGTH", "Length", one.length_mm, MILLIMETER))
    if one.rule:
        content.append(_text("RULE", "Rule that decided", one.rule))
    item.ContentSequence = Items(content)
    return item
