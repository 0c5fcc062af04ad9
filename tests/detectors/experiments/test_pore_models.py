"""Tables, claims and cost of a comparison of pore models, by hand."""

from typing import Any

import pytest
import torch

from detectors.build import build_model
from detectors.config.files import read_config
from detectors.evaluation.intervals import mean_interval
from detectors.experiments.pore_model_cost import Cost, Size, planned_seconds, published_section, size_of
from detectors.experiments.pore_model_page import extreme_table
from detectors.experiments.pore_model_plan import AUTOENCODERS, NETS, Plan, jobs_of, section_of
from detectors.experiments.pore_model_tables import claims, label_free_share, spread, tables
from detectors.volumes.vae.vae import VAEConfig


def record(model: str, labels: str | None, fold: int, raw: float, post: float | None = None) -> dict[str, Any]:
    def scores(ap: float) -> dict[str, Any]:
        return {"ap": ap, "roc_auc": 0.9, "f1": 0.5, "pores": 3, "precision": [1.0] * 101}

    found = {"raw": scores(raw)} | ({"post_processed": scores(post)} if post is not None else {})
    quality = {"precision": 0.8, "recall": 0.5, "dice": 0.6} if labels in ("otsu", "self") else None
    return {"model": model, "labels": labels, "fold": fold, "seed": 0, "run": "run", "label_quality": quality,
            "validation": found, "hard": found}  # fmt: skip


RECORDS = [
    *(record("vae", None, fold, raw, raw + gain) for fold, raw, gain in ((1, 0.2, 0.2), (2, 0.3, 0.3), (3, 0.4, 0.4))),
    *(record("unet", "otsu", fold, 0.4) for fold in (1, 2, 3)),
    *(record("unet", "self", fold, ap) for fold, ap in ((1, 0.3), (2, 0.6), (3, 0.6))),
    *(record("unet", "truth", fold, 0.8) for fold in (1, 2, 3)),
]


def test_a_mean_and_its_interval() -> None:
    mean, half = mean_interval([0.2, 0.3, 0.4])
    # Standard deviation 0.1, and Student's t of two degrees of freedom is 4.3027.
    assert mean == pytest.approx(0.3)
    assert half == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert mean_interval([0.5]) == (0.5, None)
    assert spread([0.2, 0.3, None, 0.4]) == "0.300 ± 0.248"
    assert spread([None]) == "n/a"


def test_tables_have_the_papers_rows() -> None:
    shown = {table.title.split(".")[0]: table for table in tables(RECORDS)}
    assert list(shown) == ["Table 3", "Table 4", "Table 5", "Table 6", "Table 7", "Networks by what they learned from"]
    assert [row[:2] for row in shown["Table 4"].rows] == [["UNet", "0.400 ± 0.000"], ["VAE", "0.300 ± 0.248"]]
    assert shown["Table 6"].rows == [["VAE", "0.600 ± 0.497", "0.900 ± 0.000", "3", "0.824"]]
    assert [row[0] for row in shown["Table 7"].rows] == ["UNet"]
    learned = shown["Networks by what they learned from"].rows
    assert [(row[0], row[3]) for row in learned] == [("Otsu", "0.400 ± 0.000"), ("self-labels", "0.500 ± 0.430"),
                                                     ("truth", "0.800 ± 0.000")]  # fmt: skip
    assert learned[0][4] == "0.80 ± 0.00"
    assert learned[2][4] == "1"


def test_claims_hold_where_the_whole_interval_does() -> None:
    found = {claim.claim: claim for claim in claims(RECORDS)}
    raised = found["post-processing raises the AP of the VAE"]
    assert raised.holds is True  # 0.2, 0.3 and 0.4: 0.300 +- 0.248
    assert raised.found.startswith("+0.300 ± 0.248")
    beaten = found["labels by the autoencoder beat Otsu's, UNet"]
    assert beaten.found.startswith("+0.100")  # -0.1, 0.2, 0.2: the interval reaches below 0
    assert beaten.holds is False
    assert found["post-processing lowers the AP of the gmVAE"].holds is None
    fallen = claims([record("gm_vae", None, fold, 0.5, 0.5 - 0.1 * fold) for fold in (1, 2, 3)])
    assert (
        next(claim for claim in fallen if "lowers the AP of the gmVAE" in claim.claim).holds is False
    )  # 0.200 +- 0.248
    assert label_free_share(RECORDS) == ("VAE, post-processed", pytest.approx(0.6 / 0.8))


def test_extremes_are_a_table_of_projections_and_exposure() -> None:
    scans = [{"projections": p, "exposure": e, "ap": p * e / 100} for p in (24, 72) for e in (0.5, 1.0)]
    table = extreme_table(scans)
    assert table.header == ["exposure", "72 projections", "24 projections"]
    assert table.rows == [["1", "0.720", "0.240"], ["0.5", "0.360", "0.120"]]


def test_the_size_of_a_small_autoencoder_by_hand() -> None:
    size = size_of(VAEConfig(widths=[2], latent=3, block=8, overlap=4))
    # Encoder: 1 to 2 channels, 3^3, at 4^3 voxels; then 2 x 4^3 to 6 numbers.
    # Decoder: 3 numbers to 2 x 4^3; 2 to 2, 3^3, at 4^3; 2 to 1, 2^3, from 4^3.
    work = [64 * 27 * 2, 128 * 6, 3 * 128, 64 * 27 * 4, 64 * 8 * 2]
    assert size.multiply_adds == sum(work)
    assert size.parameters == (27 * 2 + 2) + 128 * 6 + (3 * 2 * 64 + 2) + (27 * 4 + 2) + 2 * 8
    assert size.block == 8
    assert size.kept > 0


@pytest.mark.parametrize("model", [*AUTOENCODERS, *NETS])
def test_published_sections_have_the_published_parameters(model: str) -> None:
    published = {"vae": 29.024, "ce_vae": 140.650, "gm_vae": 383.650, "vq_vae": 2.511, "rv_vae": 29.024, "mss": 1.328,
                 "unet": 1.325, "plus_plus": 1.503, "three_plus": 1.672, "acc": 5.062}  # fmt: skip
    with torch.device("meta"):
        built = build_model(published_section(model), 1)
    assert sum(p.numel() for p in built.parameters()) / 1e6 == pytest.approx(published[model], abs=6e-4)


def small_plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "net": read_config("am_small_unet", ["train.epochs=2", "train.samples_per_epoch=100"]),
        "autoencoder": read_config("am_small_vae", ["train.epochs=1", "train.samples_per_epoch=50"]),
        "autoencoders": ("vae", "vq_vae"), "nets": ("unet",), "labels": ("otsu", "self"), "labeler": "vae", "folds": 3,
        "seeds": 2, "threshold": 0.3,
    }  # fmt: skip
    return Plan(**(settings | changes))


def test_jobs_and_their_cost_by_hand() -> None:
    plan = small_plan()
    jobs = jobs_of(plan)
    assert [job.name for job in jobs[:4]] == ["vae", "vq_vae", "unet-on-otsu", "unet-on-self"]
    assert len(jobs) == 4 * 3 * 2
    size = Size(64, 1, 1, 1)
    costs = [Cost("vae", size, size, 0.01, 0), Cost("vq_vae", size, size, 0.02, 0), Cost("unet", size, size, 0.8, 0)]
    # A network's patches of 32 voxels are an eighth of its blocks of 64.
    assert planned_seconds(costs, plan) == pytest.approx(6 * (50 * 0.01 + 50 * 0.02 + 2 * 200 * 0.8 / 8))


def test_sections_share_the_blocks_of_the_configuration() -> None:
    plan = small_plan(autoencoder=read_config("am_small_vae", ["model.block=16", "model.overlap=4"]))
    for model in AUTOENCODERS:
        section = section_of(plan, model)
        assert (section.name, section.block, section.overlap) == (model, 16, 4)  # type: ignore[attr-defined]
    assert section_of(plan, "plus_plus").variant == "plus_plus"  # type: ignore[attr-defined]
    assert section_of(plan, "acc").block == 64  # type: ignore[attr-defined]
