"""The page of an acceptance: verdicts with their reasons, and the radiographs that were not accepted."""

from html import escape
from pathlib import Path

import numpy as np

from data.drawing import draw_boxes
from data.errors import InputError
from data.files import write_text
from data.gray_window import AUTO
from data.pictures import write_picture
from data.radiograph import read_radiograph
from detectors.decisions.acceptance import Acceptance
from detectors.decisions.verdict import ORDER, Decision
from detectors.evaluation.html_page import STYLE, figure_of

MOST_PICTURES = 24
MOST_ROWS = 2000
COLORS = {"reject": (255, 64, 64), "look again": (255, 176, 0), "accept": (0, 200, 83)}
OTHER = (160, 160, 160)  # of indications that decided nothing
ZONE = (86, 180, 233)


def write_page(made: Acceptance, out: Path, pictures: int = MOST_PICTURES) -> Path:
    """Write `acceptance.html`, self-contained, and `pictures/` of up to so many radiographs, the worst first."""
    order = sorted(range(len(made.decisions)), key=lambda k: -ORDER.index(made.decisions[k].verdict))
    figures = []
    for k in order[:pictures]:
        decision, image = made.decisions[k], made.predictions.images[k]
        try:
            picture = draw_decision(made, k)
        except InputError as fault:
            figures.append(f"<p>{escape(str(fault))}</p>")
            continue
        name = f"{k + 1:05d}_{Path(image['file_name']).stem[-100:]}.png"
        write_picture(out / "pictures" / name, picture)
        why = "; ".join(decision.reasons)
        figures.append(figure_of(picture, f"{Path(image['file_name']).name}: {decision.verdict}. {why}"))
    counts = ", ".join(f"{made.counts[verdict]} {verdict}" for verdict in reversed(ORDER))
    rows = "".join(_row(made.predictions.images[k]["file_name"], made.decisions[k]) for k in order[:MOST_ROWS])
    error = made.size_error
    known = (
        f"so that a true length is {error.length[0]:.2f} to {error.length[1]:.2f} of the drawn one (5 % and 95 % of "
        f"{error.defects} defects found in an evaluation)"
        if error.defects
        else "by an amount that is not known, and for which nothing is allowed"
    )
    page = f"""<!doctype html><meta charset="utf-8"><title>{escape(made.rules.name)}</title><style>{STYLE}
td,th{{text-align:left}}.reject{{color:#c00}}.look{{color:#b36b00}}.accept{{color:#070}}</style>
<h1>{escape(made.rules.name)}: {counts}</h1>
<p>The rules are the user's own; that they conform to a standard is not claimed. Indications count from a score of
{made.scores[0]:.3f} on, and may reject from {made.scores[1]:.3f} on. Lengths are known to
&plusmn; {made.rules.measurement_error:g} {made.rules.unit}, and the detector's boxes are off, {known}. Where that
leaves a rule open, a person looks again. A detector misses defects: what is accepted here is free of indications
that break a rule, not of defects.</p>
<table><tr><th>radiograph</th><th>verdict</th><th>why</th></tr>
{rows}</table>
<h2>The first {len(figures)} of {len(made.decisions)} radiographs, the worst first</h2>
<p>Red: what rejects. Orange: what is to be looked at again. Gray: indications that decided nothing. Blue: zones.</p>
{"".join(figures)}
"""
    write_text(out / "acceptance.html", page)
    return out / "acceptance.html"


def _row(name: str, decision: Decision) -> str:
    why = "<br>".join(map(escape, decision.reasons))
    kind = decision.verdict.split()[0]
    return f'<tr><td>{escape(Path(name).name)}</td><td class="{kind}">{decision.verdict}</td><td>{why}</td></tr>'


def draw_decision(made: Acceptance, index: int) -> np.ndarray:
    """Return a radiograph RGB uint8 [H, W, 3] with its zones, and its indications in the color of what they decided.

    Raises InputError where the radiograph cannot be read.
    """
    image, decision = made.predictions.images[index], made.decisions[index]
    picture = draw_boxes(read_radiograph(made.predictions.path(image), window=AUTO).pixels, [])
    zones = made.zones[index]
    for mask in zones.masks.values() if zones is not None and not zones.refused else ():
        picture[_outline(mask)] = ZONE
    deciding = {row for finding in decision.deciding for row in finding.rows}
    others = [
        row
        for row, result in enumerate(made.predictions.results)
        if result["image_id"] == image["id"] and result["score"] >= made.scores[0] and row not in deciding
    ]
    for rows, color in ((others, OTHER), (sorted(deciding), COLORS[decision.verdict])):
        found = [made.predictions.results[row] for row in rows]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (result["bbox"] for result in found)]
        picture = draw_boxes(picture, boxes, [result["score"] for result in found], color)
    return picture


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return bool [H, W], True on the pixels of a mask that have a neighbor outside."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            shifted = np.roll(mask, step, axis)
            inner &= shifted
    return mask & ~inner
