"""The extreme test: the hard part scanned anew with ever fewer projections and ever less exposure."""

from pathlib import Path
from typing import Any

from data.coco_check import load_json
from data.console import progress
from data.errors import InputError
from data.files import write_json
from detectors.config.phantoms import CTPhantomConfig
from detectors.config.source import SourceConfig
from detectors.experiments.pore_model_plan import Plan
from detectors.experiments.pore_models import evaluate_model
from detectors.experiments.self_labels import load_autoencoder

SHARES_OF_PROJECTIONS = (1.0, 0.5, 1 / 3)
SHARES_OF_EXPOSURE = (1.0, 0.75, 0.5, 0.25)
"""Those of the paper: 2878, 1439 and 959 projections; 0.52, 0.39, 0.26 and 0.13 mAs."""


def extreme_test(plan: Plan, out: Path) -> list[dict[str, Any]]:
    """Return the AP of the labeler's post-processed map on each scan; of the run that the first fold made.

    Writes `out/extremes.json` after each scan; called again, it goes on after those that are there. Raises InputError
    as `check_extremes`.
    """
    hard, phantoms = check_extremes(plan)
    path = out / "extremes.json"
    found: list[dict[str, Any]] = load_json(path)["scans"] if path.is_file() else []
    done = {(record["projections"], record["exposure"]) for record in found}
    most = phantoms.projections or round(1.25 * phantoms.size[0])
    record = load_json(out / "results" / "seed0-fold1" / f"{plan.labeler}.json")
    model, config = load_autoencoder(Path(record["run"]), True)
    scans = [(round(most * share), phantoms.exposure * dose) for share in SHARES_OF_PROJECTIONS
             for dose in SHARES_OF_EXPOSURE]  # fmt: skip
    with progress() as bar:
        for projections, exposure in bar.track(scans, description="scanning anew"):
            if (projections, exposure) in done:
                continue
            again = phantoms.model_copy(update={"projections": projections, "exposure": exposure})
            scores = evaluate_model(model, config, hard.model_copy(update={"ct_phantoms": again}))
            found.append({"projections": projections, "exposure": exposure, "ap": scores["ap"],
                          "roc_auc": scores["roc_auc"]})  # fmt: skip
            write_json(path, {"scans": found}, indent=1)
    return found


def check_extremes(plan: Plan) -> tuple[SourceConfig, CTPhantomConfig]:
    """Return the hard part. Raises InputError where it is not simulated: what is there cannot be scanned anew."""
    hard = plan.net.data.test
    if hard is None or hard.ct_phantoms is None:
        raise InputError("the extreme test scans the hard part anew, and data.test is not simulated (ct_phantoms); "
                         "leave out --extremes")  # fmt: skip
    if plan.labeler not in plan.autoencoders:
        raise InputError(f"the extreme test maps with {plan.labeler}, which is not among the models; add it, or choose "
                         "another --labeler")  # fmt: skip
    return hard, hard.ct_phantoms
