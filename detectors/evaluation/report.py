"""One self-contained page about one or several runs, which opens offline."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import write_text
from data.image_paths import confined_path
from detectors.evaluation.error_analysis import FALSE_CALLS, MISSES
from detectors.evaluation.matching import MatchTable
from detectors.evaluation.metrics import FALSE_CALL_RATES, METRICS
from detectors.evaluation.report_data import CRITERIA, gallery_data, image_boxes, run_data
from detectors.evaluation.report_images import Pictures
from detectors.evaluation.runs import Run
from detectors.evaluation.threshold import reporting_threshold

MOST_BYTES = 4_800_000  # of the whole page
PAGE = Path(__file__).parent / "report_page"


def write_report(
    runs: Mapping[str, Run],
    out: str | Path,
    title: str = "Detector report",
    errors: int = 40,
    resamples: int = 300,
    overrides: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> Path:
    """Write the report of `runs` (by name) to `out`; returns its path.

    The page holds its data, its script and the radiographs of the `errors` worst misses and as many false calls of
    each run, and loads nothing. Pictures are made smaller until the page is under 4.8 MB. `resamples` draws make
    the bootstrap bands. `overrides` are an inspector's decisions, by the run's name. A radiograph that is no longer
    where the run found it is left out, and the page says so.
    """
    pictures = Pictures()
    records = []
    for name, run in runs.items():
        record = run_data(name, run, resamples)
        record["gallery"], record["shown"] = _gallery(run, reporting_threshold(run)[0], errors, pictures)
        record["overrides"] = [dict(row) for row in (overrides or {}).get(name, ())]
        records.append(record)
    data: dict[str, Any] = {
        "title": title,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "criteria": list(CRITERIA),
        "sensitivities": {name: METRICS[name].title for name in FALSE_CALL_RATES},
        "kinds": {"miss": MISSES, "false call": FALSE_CALLS},
        "runs": records,
    }
    frame = _page(data)
    data["pictures"] = [
        {"window": window, "uri": uri}
        for window, uri in zip(pictures.windows, pictures.encode(MOST_BYTES - len(frame)), strict=True)
    ]
    write_text(out, _page(data))
    return Path(out)


def _gallery(
    run: Run, threshold: float | None, limit: int, pictures: Pictures
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the errors to show, each with the number of its picture, and the boxes of their images by row."""
    items, table = gallery_data(run, threshold, limit)
    shown: dict[str, Any] = {}
    # Worst first, so that a budget which is too small drops the least.
    for item in sorted(items, key=lambda item: item["rank"]):
        file_name = table.images.names[item["image"]]
        item["file"] = file_name
        item["picture"] = _picture(run, table, item, pictures)
        if str(item["image"]) not in shown:
            shown[str(item["image"])] = image_boxes(table, item["image"], threshold)
    return items, shown


def _picture(run: Run, table: MatchTable, item: dict[str, Any], pictures: Pictures) -> int | None:
    """Return the number of the picture of an error, None where its radiograph is not in the folder of images."""
    if run.image_dir is None:
        return None
    image = item["image"]
    try:
        file = confined_path(run.image_dir, table.images.names[image], table.images.ids[image])
    except InputError:
        return None
    return pictures.add(file, item["box"])


def _page(data: dict[str, Any]) -> str:
    # "</script" and "<!--<script" would end the script element early or never, wherever they stand in a name.
    content = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = (PAGE / "report.html").read_text(encoding="utf-8")
    for name in ("report.css", "charts.js", "gallery.js", "report.js"):
        page = page.replace(f"/* {name} */", (PAGE / name).read_text(encoding="utf-8"))
    return page.replace("/* data */", content)
