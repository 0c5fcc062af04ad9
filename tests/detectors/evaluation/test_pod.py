"""POD against statsmodels, a hand-worked case and its refusals."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from click.testing import CliRunner
from scipy.stats import chi2

from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.evaluation.hit_miss import false_call_rates, hit_miss
from detectors.evaluation.matching import match_detections
from detectors.evaluation.pod import fit_pod
from detectors.evaluation.runs import write_evaluation

ROOT = Path(__file__).parents[3]
LINKS = {"logit": sm.families.links.Logit(), "probit": sm.families.links.Probit()}


def simulated(defects: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(2.8, 0.5, defects))
    return size, rng.random(defects) < 1 / (1 + np.exp(-4 * (np.log(size) - 2.6)))


def oracle(size: np.ndarray, hit: np.ndarray, link: str, scale: str) -> sm.GLM:
    x = np.log(size) if scale == "log" else size
    return sm.GLM(hit.astype(float), sm.add_constant(x), family=sm.families.Binomial(LINKS[link])).fit(tol=1e-13)


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("link", ["logit", "probit"])
@pytest.mark.parametrize(("defects", "seed"), [(40, 5), (300, 1), (900, 2)])
def test_fit_equals_statsmodels(link: str, scale: str, defects: int, seed: int) -> None:
    size, hit = simulated(defects, seed)
    fit, model = fit_pod(size, hit, link, scale), oracle(size, hit, link, scale)
    assert [fit.intercept, fit.slope] == pytest.approx(model.params, rel=1e-5)
    assert fit.covariance == pytest.approx(model.cov_params(), rel=1e-4)
    assert fit.log_likelihood == pytest.approx(model.llf, abs=1e-8)
    low, high = fit.wald_band(np.array([10.0, 20.0]))
    x = np.log([10.0, 20.0]) if scale == "log" else np.array([10.0, 20.0])
    frame = model.get_prediction(sm.add_constant(x)).summary_frame(alpha=0.1)
    assert low == pytest.approx(frame["mean_ci_lower"].to_numpy(), rel=1e-4)
    assert high == pytest.approx(frame["mean_ci_upper"].to_numpy(), rel=1e-4)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_likelihood_bound_of_a90_equals_a_constrained_fit_of_statsmodels(link: str) -> None:
    size, hit = simulated(200, 4)
    fit, model = fit_pod(size, hit, link), oracle(size, hit, link, "log")
    # At a90/95 the best curve through (a90/95, 0.9) is worse by exactly the one-sided 95 % limit.
    away = (np.log(size) - np.log(fit.a90_95))[:, None]
    wanted = np.full(len(size), LINKS[link](0.9))
    held = sm.GLM(hit.astype(float), away, family=sm.families.Binomial(LINKS[link]), offset=wanted).fit(tol=1e-13)
    assert 2 * (model.llf - held.llf) == pytest.approx(chi2.ppf(0.9, 1), abs=1e-5)
    assert fit.a90 < fit.a90_95
    low, _ = fit.likelihood_band(np.array([fit.a90_95]))
    assert low[0] == pytest.approx(0.9, abs=1e-5)
    low, _ = fit.wald_band(np.array([fit.a90_95_wald]))
    assert low[0] == pytest.approx(0.9, abs=1e-9)


def test_hand_worked_case() -> None:
    # 10 defects of size 1, 3 found, and 10 of size 2, 7 found: two groups, so the fit meets both shares.
    size = np.repeat([1.0, 2.0], 10)
    hit = np.array([1] * 3 + [0] * 7 + [1] * 7 + [0] * 3, dtype=bool)
    fit = fit_pod(size, hit, "logit", "linear")
    odds = np.log(7 / 3)
    assert fit.slope == pytest.approx(2 * odds, rel=1e-6)
    assert fit.intercept == pytest.approx(-3 * odds, rel=1e-6)
    assert fit.a50 == pytest.approx(1.5, rel=1e-6)
    assert fit.a90 == pytest.approx(1.5 + np.log(9) / (2 * odds), rel=1e-6)
    assert fit.deviance == pytest.approx(-2 * (14 * np.log(0.7) + 6 * np.log(0.3)))
    # Each group's log odds has variance 1 / (10 * 0.3 * 0.7); the slope is their difference.
    assert fit.covariance[1, 1] == pytest.approx(2 / 2.1, rel=1e-5)
    assert any("only 20 defects" in warning for warning in fit.warnings)
    assert any("beyond the largest" in warning for warning in fit.warnings)


def test_one_sided_bound_covers_the_true_a90_in_nineteen_of_twenty() -> None:
    true = np.exp(2.6 + np.log(9) / 4)
    covered = [fit_pod(*simulated(120, seed)).a90_95 >= true for seed in range(100, 220)]
    assert 0.90 <= np.mean(covered) <= 0.99


RISING = np.arange(1.0, 21.0)


@pytest.mark.parametrize(
    ("size", "hit", "words"),
    [
        (RISING[:5], RISING[:5] > 2, "5 defects cannot carry"),
        (RISING, RISING > 0, "are found"),
        (RISING, RISING < 0, "are missed"),
        (RISING, RISING > 10, "separation"),
        (RISING, RISING < 10, "separation"),
        (RISING, (RISING % 4 < 2) | (RISING < 10), "does not rise"),
        (np.full(20, 3.0), RISING > 10, "range of sizes"),
        (RISING - 1, RISING > 10, "above 0"),
        (np.zeros(0), np.zeros(0, bool), "0 defects"),
    ],
)
def test_refusals_give_the_reason(size: np.ndarray, hit: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_pod(size, hit)


def test_goodness_of_fit_tells_a_wrong_curve() -> None:
    size, hit = simulated(600, 3)
    assert fit_pod(size, hit).fit_p > 0.01
    middle = (size > 12) & (size < 22)
    assert fit_pod(size, hit & ~(middle & (np.arange(600) % 3 > 0))).fit_p < 0.001


def _phantom_like(count: int = 80, depth: bool = True, pixel: float | None = 0.2) -> tuple[CocoDataset, list[dict]]:
    rng = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for k in range(1, count + 1):
        images.append({"id": k, "file_name": f"{k}.png", "width": 128, "height": 96, "pixel_size_mm": pixel})
        if k % 8 == 0:
            continue  # defect-free
        side = float(rng.uniform(4, 30))
        box = [10.0, 10.0, side, side]
        annotations.append({"id": k, "image_id": k, "category_id": 1, "bbox": box, "area": side**2, "iscrowd": 0})
        if depth:
            annotations[-1]["depth_mm"] = side / 10
        if rng.random() < 1 / (1 + np.exp(-(side - 12) / 3)):
            results.append({"image_id": k, "category_id": 1, "bbox": box, "score": 0.9})
    results.append({"image_id": 8, "category_id": 1, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.95})
    return CocoDataset(images, annotations, [{"id": 1, "name": "pore"}]), results


def test_sizes_in_px_in_mm_and_by_depth() -> None:
    dataset, results = _phantom_like()
    table = match_detections(dataset, results)
    by = {
        name: hit_miss(table, 0.5, *arguments)
        for name, arguments in {"px": ("size", "px"), "mm": ("size",), "depth": ("depth",)}.items()
    }
    assert {name: data.unit for name, data in by.items()} == {"px": "px", "mm": "mm", "depth": "mm"}
    assert by["mm"].size == pytest.approx(by["px"].size * 0.2)
    assert by["depth"].size == pytest.approx(by["px"].size / 10)
    assert by["px"].hit.sum() == len(results) - 1
    assert not hit_miss(table, 0.91).hit.any()


def test_missing_depth_or_pixel_size_is_said() -> None:
    dataset, results = _phantom_like(depth=False, pixel=None)
    table = match_detections(dataset, results)
    assert hit_miss(table, 0.5).unit == "px"
    with pytest.raises(InputError, match="depth_mm"):
        hit_miss(table, 0.5, "depth")
    with pytest.raises(InputError, match="pixel_size_mm"):
        hit_miss(table, 0.5, "size", "mm")


def test_false_call_rates_by_hand() -> None:
    rates = false_call_rates(match_detections(*_phantom_like()), 0.5)
    assert (rates["defect_free_images"], rates["defect_free_images_called"], rates["false_calls"]) == (10, 1, 1)
    # Clopper-Pearson for 1 of 10, one-sided 95 %.
    assert rates["defect_free_images_called_bounds"] == pytest.approx((0.00512, 0.39416), abs=1e-5)
    assert rates["false_calls_per_image"] == pytest.approx(1 / 80)


def _run(folder: Path) -> Path:
    dataset, results = _phantom_like()
    for record in dataset.images:
        write_radiograph(folder / "images" / record["file_name"], np.full((96, 128), 0.5, np.float32))
    write_evaluation(folder / "run", dataset, results, folder / "images")
    return folder / "run"


def test_command_writes_and_refuses(tmp_path: Path) -> None:
    run = _run(tmp_path)
    main = runpy.run_path(str(ROOT / "tools" / "pod.py"))["main"]
    done = CliRunner().invoke(main, [str(run)])
    assert done.exit_code == 0, done.output
    assert "a90/95" in done.output
    record = json.loads((run / "pod.json").read_text())
    assert record["a50"] == pytest.approx(12 * 0.2, rel=0.2)
    assert (run / "plots" / "pod.png").stat().st_size > 0
    done = CliRunner().invoke(main, [str(run), "--threshold", "0.99"])
    assert done.exit_code == 2
    assert "are missed" in done.output
