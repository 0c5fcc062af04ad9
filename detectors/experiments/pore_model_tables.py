"""Tables of a comparison of pore models, in the layout of Iuso et al. (2024), and what holds of their claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectors.evaluation.intervals import mean_interval
from detectors.evaluation.metrics import display
from detectors.experiments.pore_model_plan import AUTOENCODERS, LABELS, NETS

Records = Sequence[dict[str, Any]]

TITLES = AUTOENCODERS | NETS

PUBLISHED: dict[str, dict[str, float]] = {
    "validation": {"mss": 0.784, "unet": 0.815, "plus_plus": 0.750, "three_plus": 0.873, "acc": 0.658, "vae": 0.711,
                   "ce_vae": 0.746, "gm_vae": 0.607, "vq_vae": 0.602, "rv_vae": 0.728},
    "hard": {"mss": 0.572, "unet": 0.581, "plus_plus": 0.583, "three_plus": 0.541, "acc": 0.418, "vae": 0.615,
             "ce_vae": 0.635, "gm_vae": 0.374, "vq_vae": 0.313, "rv_vae": 0.634},
    "validation, post-processed": {"vae": 0.964, "ce_vae": 0.964, "gm_vae": 0.516, "vq_vae": 0.512, "rv_vae": 0.951},
    "hard, post-processed": {"vae": 0.824, "ce_vae": 0.830, "gm_vae": 0.234, "vq_vae": 0.138, "rv_vae": 0.777},
    "hard, self-labels": {"mss": 0.651, "unet": 0.639, "plus_plus": 0.751, "three_plus": 0.627, "acc": 0.586},
}  # fmt: skip
"""Average precision in the paper's Tables 3 to 7, on other data."""


@dataclass(frozen=True)
class Table:
    """A table: what it shows, its column titles, and its rows of texts."""

    title: str
    header: list[str]
    rows: list[list[str]]


def tables(records: Records) -> list[Table]:
    """Return Tables 3 to 7 of records of `compare_pore_models`, and networks by what they learned from."""
    plain = [record for record in records if record["labels"] in (None, "otsu")]
    unlabeled = [record for record in records if record["labels"] is None]
    own = [record for record in records if record["labels"] == "self"]
    found = [
        _scores("Table 3. Validation parts; networks on Otsu's labels", plain, "validation", "raw", "validation"),
        _scores("Table 4. Hard part; networks on Otsu's labels", plain, "hard", "raw", "hard"),
        _scores("Table 5. Validation parts, post-processed", unlabeled, "validation", "post_processed",
                "validation, post-processed"),
        _scores("Table 6. Hard part, post-processed", unlabeled, "hard", "post_processed", "hard, post-processed"),
        _scores("Table 7. Hard part; networks on self-labels", own, "hard", "raw", "hard, self-labels"),
        _by_labels(records),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Return "mean ± half of the 95 % interval" of the values that there are, "n/a" without any."""
    known = [value for value in values if value is not None]
    if not known:
        return "n/a"
    mean, half = mean_interval(known)
    return display(mean, digits) + ("" if half is None else f" ± {half:.{digits}f}")


def _scores(title: str, records: Records, where: str, which: str, published: str) -> Table:
    rows = []
    for model, name in (NETS | AUTOENCODERS).items():
        some = [record[where][which] for record in records if record["model"] == model]
        if some:
            rows.append([name, spread([one["ap"] for one in some]), spread([one["roc_auc"] for one in some]),
                         str(len(some)), display(PUBLISHED[published].get(model))])  # fmt: skip
    return Table(title, ["model", "AP", "ROC AUC", "trainings", "AP in the paper"], rows)


def _by_labels(records: Records) -> Table:
    rows = []
    for labels, title in LABELS.items():
        some = [record for record in records if record["labels"] == labels]
        quality = {json_name: [record["label_quality"][json_name] for record in some if record["label_quality"]]
                   for json_name in ("precision", "recall", "dice")}  # fmt: skip
        for net, name in NETS.items():
            mine = [record for record in some if record["model"] == net]
            if mine:
                rows.append([title, name, spread([r["validation"]["raw"]["ap"] for r in mine]),
                             spread([r["hard"]["raw"]["ap"] for r in mine]),
                             *(spread(values, 2) if values else "1" for values in quality.values())])  # fmt: skip
    header = ["labels", "network", "AP, validation", "AP, hard", "label precision", "label recall", "label Dice"]
    return Table("Networks by what they learned from", header, rows)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: `found` is what was measured, `holds` whether it goes that way, None where not measured."""

    claim: str
    found: str
    holds: bool | None


def claims(records: Records) -> list[Claim]:
    """Return what holds of the paper's claims on the hard part; differences are of the same fold and seed.

    A claim of a difference holds where the whole 95 % interval of the mean difference is on its side.
    """
    found = []
    for model in ("vae", "ce_vae", "rv_vae"):
        found.append(_difference(f"post-processing raises the AP of the {AUTOENCODERS[model]}",
                                 _gains(records, model)))  # fmt: skip
    for model in ("gm_vae", "vq_vae"):
        found.append(_difference(f"post-processing lowers the AP of the {AUTOENCODERS[model]}",
                                 _gains(records, model), falls=True))  # fmt: skip
    scores = {key: record["hard"]["raw"]["ap"] for record in records for key in [_key(record)]}
    scores |= {key: record["hard"]["post_processed"]["ap"] for record in records if record["labels"] is None
               for key in [_key(record)]}  # fmt: skip
    for model in ("gm_vae", "vq_vae"):
        lead = [scores[key] - scores[(model, *key[1:])] for key in scores
                if key[0] == "ce_vae" and (model, *key[1:]) in scores]  # fmt: skip
        found.append(_difference(f"the {AUTOENCODERS[model]} falls behind the ceVAE, post-processed", lead))
    for net in NETS:
        for other, whose in (("otsu", "Otsu's"), ("otsu_fixed", "Otsu's with traps closed")):
            lead = [
                value - scores[(net, other, *key[2:])]
                for key, value in scores.items()
                if key[:2] == (net, "self") and (net, other, *key[2:]) in scores
            ]
            if lead:
                found.append(_difference(f"labels by the autoencoder beat {whose}, {NETS[net]}", lead))
    return found


def label_free_share(records: Records) -> tuple[str, float] | None:
    """Return the best label-free chain by its mean AP on the hard part, over that of the UNet that learned the truth.

    The name of the chain and the ratio; None without both.
    """
    means: dict[str, list[float]] = {}
    truth = []
    for record in records:
        if record["labels"] == "truth" and record["model"] == "unet":
            truth.append(record["hard"]["raw"]["ap"])
        elif record["labels"] is None:
            means.setdefault(f"{TITLES[record['model']]}, post-processed", []).append(
                record["hard"]["post_processed"]["ap"]
            )
        elif record["labels"] == "self":
            means.setdefault(f"{TITLES[record['model']]} on self-labels", []).append(record["hard"]["raw"]["ap"])
    if not truth or not means:
        return None
    best = max(means, key=lambda name: mean_interval(means[name])[0])
    return best, mean_interval(means[best])[0] / mean_interval(truth)[0]


def _key(record: dict[str, Any]) -> tuple[str, str | None, int, int]:
    return record["model"], record["labels"], record["fold"], record["seed"]


def _gains(records: Records, model: str) -> list[float]:
    mine = [record["hard"] for record in records if record["model"] == model]
    return [one["post_processed"]["ap"] - one["raw"]["ap"] for one in mine]


def _difference(claim: str, values: Sequence[float], falls: bool = False) -> Claim:
    if not values:
        return Claim(claim, "not measured", None)
    mean, half = mean_interval(values)
    signed, width = (-mean if falls else mean), half
    holds = None if width is None else signed - width > 0
    return Claim(claim, f"{mean:+.3f}" + ("" if half is None else f" ± {half:.3f}") + f" ({len(values)} trainings)",
                 holds)  # fmt: skip
