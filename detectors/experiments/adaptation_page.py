"""The page at the end of an adaptation: what was found, what is found of simulated defects, what that does not say."""

from pathlib import Path
from typing import Any

from data.files import write_text
from detectors.evaluation.html_page import STYLE, figure_of_file

MOST_PICTURES = 24


def write_page(out: Path, record: dict[str, Any]) -> Path:
    """Write `adaptation.html` into `out`, self-contained, and return its path.

    `record` is what `adaptation.json` holds; overlays are taken from `found/overlays`, the plot from `plots`.
    """
    threshold = record["threshold"]
    rows = "".join(
        f"<tr><td>{_range(row['contrast_from'], row['contrast_to'])}</td>"
        f"<td>{_range(row['size_px_from'], row['size_px_to'])}</td><td>{row['found']} of {row['defects']}</td>"
        f"<td>{row['share']:.2f}</td><td>{row['lower']:.2f} to {row['upper']:.2f}</td></tr>"
        for row in record["pod"]
    )
    overlays = sorted((out / "found" / "overlays").glob("*.png"))[:MOST_PICTURES]
    pictures = "".join(figure_of_file(path) for path in overlays)
    page = f"""<!doctype html><meta charset="utf-8"><title>Adaptation</title><style>{STYLE}</style>
<h1>Adapted to {record["radiographs"]} radiographs</h1>
<p>{record["held_back"]} of them were held back from training. {record["left_out_places"]} places where the detector to
start from called were left out of training: they may be defects, and nobody has said.</p>
<p>Threshold {threshold["threshold"]:.3f}: {threshold["false_calls_per_image"]:.2f} calls an image on the radiographs
held back, places left out not counted. Of the defects simulated in them,
{record["recall_of_simulated_defects"]:.0%} are found at that threshold.</p>
<h2>Simulated defects found, by size and contrast</h2>
{figure_of_file(out / "plots" / "pod_surface.png", 760)}
<table><tr><th>contrast over noise</th><th>size, px</th><th>found</th><th>share</th><th>95 % interval</th></tr>
{rows}</table>
<h2>What this does not say</h2>
<ul><li>The defects are simulated. How often real ones are found can differ; only annotated radiographs of this part
can tell.</li>
<li>A radiograph held back is a neighbor of others that were trained on. Another batch, tube or window may do
worse.</li>
<li>Calls are counted as false only in the sense that no label says otherwise. Look at them below.</li></ul>
<h2>What was found on your radiographs</h2>
<p>Boxes score at least {threshold["threshold"]:.3f}; {len(overlays)} of {record["radiographs"]} radiographs are shown,
all are in found/overlays.</p>
{pictures}
"""
    write_text(out / "adaptation.html", page)
    return out / "adaptation.html"


def _range(low: float, high: float | None) -> str:
    return f"over {low:g}" if high is None else f"{low:g} to {high:g}"
