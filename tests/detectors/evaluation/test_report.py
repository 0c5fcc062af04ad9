"""The report: what it says against the table, its size, its empty cases, and every control in a real browser."""

import html
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.coco import CocoDataset, write_results
from data.files import write_json
from data.radiograph import write_radiograph
from detectors.evaluation.error_analysis import analyze_errors
from detectors.evaluation.matching import match_detections
from detectors.evaluation.metrics import METRICS, compute_metrics
from detectors.evaluation.report import write_report
from detectors.evaluation.report_images import Pictures, window_around
from detectors.evaluation.runs import name_runs, read_run, write_ground_truth

ROOT = Path(__file__).parents[3]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make_runs(folder: Path, images: int = 24, size: tuple[int, int] = (160, 120)) -> list[Path]:
    """Two runs on the same radiographs, every sixth clean; the second run is the better one."""
    rng = np.random.default_rng(0)
    width, height = size
    records, annotations = [], []
    for k in range(1, images + 1):
        pixels = rng.normal(0.4, 0.05, (height, width)).clip(0, 1).astype(np.float32)
        records.append({"id": k, "file_name": f"{k}.png", "width": width, "height": height, "series": f"C{k % 3}"})
        for n in range(0 if k % 6 == 0 else 4):
            side = float(rng.uniform(5, 26))
            box = [20.0 + 35 * n, 30.0, side, side]
            pixels[30 : 30 + int(side), int(box[0]) : int(box[0] + side)] += 0.3
            annotations.append({"id": len(annotations) + 1, "image_id": k, "category_id": 1 + n % 2, "bbox": box,
                                "area": side * side, "iscrowd": 0})  # fmt: skip
        write_radiograph(folder / "images" / f"{k}.png", pixels.clip(0, 1))
    classes = [{"id": 1, "name": "pore"}, {"id": 2, "name": "</script> crack"}]
    dataset = CocoDataset(records, annotations, classes)
    runs = []
    for name, half in (("small", 14.0), ("large", 9.0)):
        results = []
        for record in annotations:
            side = record["bbox"][2]
            if rng.random() < 1 / (1 + np.exp(-(side - half) / 2)):
                box = [value + float(rng.normal(0, 1.5)) for value in record["bbox"]]
                results.append({"image_id": record["image_id"], "category_id": record["category_id"], "bbox": box,
                                "score": float(rng.uniform(0.4, 1))})  # fmt: skip
        for k in range(1, images + 1):
            box = [float(rng.uniform(0, 130)), 80.0, 12.0, 12.0]
            results.append({"image_id": k, "category_id": 1, "bbox": box, "score": float(rng.uniform(0, 0.7))})
        write_ground_truth(folder / name / "ground_truth.json", dataset, folder / "images", name)
        write_results(folder / name / "detections.json", results)
        write_json(folder / name / "metrics.json", compute_metrics(dataset, results, 0.1))
        (folder / name / "config.yaml").write_text("model:\n  name: faster_rcnn\n")
        runs.append(folder / name)
    return runs


def page_data(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found.group(1))


def test_no_name_opens_or_ends_a_script(tmp_path: Path) -> None:
    (run,) = make_runs(tmp_path)[:1]
    name = "<!--<script> ]]></script>"
    page = write_report({name: read_run(run)}, tmp_path / "page.html", resamples=5)
    assert page_data(page)["runs"][0]["name"] == name
    # "<!--<script" would keep a browser from seeing the end of the element.
    assert "<" not in re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL).group(1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = make_runs(folder)
    return write_report(name_runs([read_run(run) for run in runs]), folder / "report.html", errors=12, resamples=60)


def test_page_says_what_the_table_says_and_loads_nothing(report: Path) -> None:
    data = page_data(report)
    assert [run["name"] for run in data["runs"]] == ["small", "large"]
    for record in data["runs"]:
        run = read_run(report.parent / record["name"])
        criterion = record["criteria"]["IoU 0.5"]
        assert criterion["metrics"]["ap"] == run.metrics["ap50"]
        assert criterion["metrics"]["f1"] == pytest.approx(run.metrics["f1_max"])
        assert criterion["metrics"]["false_calls"] == run.metrics["false_calls_per_image"]
        low, high = criterion["intervals"]["ap"]
        assert low < run.metrics["ap50"] < high
        assert record["criteria"]["center point"]["metrics"]["ap"] == run.metrics["ap_center"]
        center = record["criteria"]["center point"]
        for name, title in data["sensitivities"].items():
            assert title == METRICS[name].title
            low, high = center["intervals"][name]
            assert low <= center["metrics"][name] == run.metrics[name] <= high
        missed = sum(criterion["errors"]["misses"].values())
        assert missed == round(run.metrics["objects"] * (1 - criterion["metrics"]["recall"]))
        assert record["tested_on"]["defect_free_images"] == 4
        assert "faster_rcnn" in record["config"]
    small, large = (record["pod"]["IoU 0.5"] for record in data["runs"])
    assert 5 < large["a50"] < small["a50"] < 20
    assert large["a90_95"] > large["a90"]
    outside = re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", report.read_text())
    assert not outside


def test_errors_by_hand() -> None:
    images = [{"id": k, "file_name": f"{k}.png", "width": 300, "height": 100} for k in (1, 2)]
    boxes = [[0, 0, 20, 20], [50, 0, 20, 20], [100, 0, 10, 10], [150, 0, 30, 30]]
    annotations = [
        {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1, "iscrowd": 0}
        for k, box in enumerate(boxes)
    ]
    dataset = CocoDataset(images, annotations, [{"id": 1, "name": "pore"}, {"id": 2, "name": "crack"}])
    found = [
        (1, 1, [0, 0, 20, 20], 0.9),  # hit
        (1, 1, [1, 0, 20, 20], 0.8),  # duplicate
        (1, 1, [56, 6, 8, 8], 0.7),  # its center in the second object, which is missed: localization error
        (1, 1, [100, 0, 10, 10], 0.2),  # the third object, under the threshold: low score
        (1, 2, [150, 0, 30, 30], 0.6),  # classification error; the fourth object stays unseen
        (1, 1, [250, 50, 10, 10], 0.55),  # background
        (2, 1, [0, 0, 10, 10], 0.5),  # defect-free image
    ]
    results = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in found]
    errors = analyze_errors(match_detections(dataset, results), 0.5)
    assert errors.miss_kinds == ["not detected", "localization error", "low score"]  # the largest first
    assert errors.false_call_kinds == [
        "duplicate",
        "localization error",
        "classification error",
        "background",
        "defect-free image",
    ]
    assert sum(errors.counts()["misses"].values()) == 3


EMPTY = {"nothing": (0, 0, 0), "clean": (0, 0, 2), "false": (0, 2, 2), "blind": (3, 0, 2), "perfect": (3, 3, 2)}


@pytest.fixture(scope="module")
def empty_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page of runs that each lack something: counts of objects, detections and images."""
    folder = tmp_path_factory.mktemp("empty")
    for k in range(2):
        write_radiograph(folder / "images" / f"{k}.png", np.full((60, 80), 0.5, np.float32))
    runs = {}
    for name, (objects, detections, images) in EMPTY.items():
        records = [{"id": k + 1, "file_name": f"{k}.png", "width": 80, "height": 60} for k in range(images)]
        annotations = [
            {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": [k * 20.0, 5, 9, 9], "area": 81, "iscrowd": 0}
            for k in range(objects)
        ]
        results = [
            {"image_id": 1, "category_id": 1, "bbox": [k * 20.0, 5, 9, 9], "score": 0.5} for k in range(detections)
        ]
        dataset = CocoDataset(records, annotations, [{"id": 1, "name": "pore"}])
        write_ground_truth(folder / name / "ground_truth.json", dataset, folder / "images", name)
        write_results(folder / name / "detections.json", results)
        runs[name] = read_run(folder / name)
    return write_report(runs, folder / "page.html", resamples=5)


def test_empty_cases_are_written(empty_report: Path) -> None:
    for record in page_data(empty_report)["runs"]:
        objects, detections, _ = EMPTY[record["name"]]
        figures = record["criteria"]["IoU 0.5"]["metrics"]
        assert figures["ap"] == (None if not objects else float(detections > 0))
        assert "refused" in record["pod"]["IoU 0.5"]


def test_empty_cases_are_shown_as_not_applicable(empty_report: Path) -> None:
    dom = dump(empty_report, "")
    headline = re.search(r'<div class="wide" id="headline">(.*?)</div>', dom, re.DOTALL).group(1)
    row = re.search(r"<td>AP, IoU 0.5</td>(.*?)</tr>", headline).group(1)
    assert re.findall(r"<td class=\"\">([^<]*)<", row) == ["n/a", "n/a", "n/a", "0.000", "1.000"]
    assert "</canvas>" in dom.split('id="gallery"')[1]
    body = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    assert not re.search(r"NaN|undefined|Infinity|\[object", body)


def test_missing_radiographs_are_left_out(report: Path, tmp_path: Path) -> None:
    run = shutil.copytree(report.parent / "small", tmp_path / "run")
    truth = json.loads((run / "ground_truth.json").read_text())
    truth["info"]["image_dir"] = str(tmp_path / "gone")
    (run / "ground_truth.json").write_text(json.dumps(truth))
    data = page_data(write_report({"run": read_run(run)}, tmp_path / "page.html", resamples=5))
    assert data["pictures"] == []
    assert all(item["picture"] is None for item in data["runs"][0]["gallery"])


def test_radiographs_outside_of_the_folder_of_images_are_not_shown(report: Path, tmp_path: Path) -> None:
    run = shutil.copytree(report.parent / "small", tmp_path / "run")
    truth = json.loads((run / "ground_truth.json").read_text())
    folder = Path(truth["info"]["image_dir"])
    truth["info"]["image_dir"] = str(folder / "below")  # from where the names now lead out, to files that are there
    for image in truth["images"]:
        image["file_name"] = f"../{image['file_name']}"
    (run / "ground_truth.json").write_text(json.dumps(truth))
    assert page_data(write_report({"run": read_run(run)}, tmp_path / "page.html", resamples=5))["pictures"] == []


def test_large_radiographs_come_in_tiles_that_hold_the_box() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = int(rng.integers(200, 1200)), int(rng.integers(1100, 5000))
        w, h = float(rng.uniform(3, 900)), float(rng.uniform(3, height * 0.6))
        box = [float(rng.uniform(0, width - w)), float(rng.uniform(0, height - h)), w, h]
        x, y, wide, high = window_around(box, (height, width))
        assert 0 <= x <= box[0]
        assert 0 <= y <= box[1]
        assert box[0] + w <= x + wide <= width
        assert box[1] + h <= y + high <= height
    assert window_around([5, 5, 9, 9], (572, 768)) == (0, 0, 768, 572)


def test_pictures_keep_to_their_budget(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = Pictures()
    for k in range(6):
        write_radiograph(tmp_path / f"{k}.png", rng.random((300, 400), dtype=np.float32))
        assert pictures.add(tmp_path / f"{k}.png", [10, 10, 5, 5]) == k
        assert pictures.add(tmp_path / f"{k}.png", [50, 50, 5, 5]) == k
    for budget in (2_000_000, 250_000, 100_000):
        encoded = pictures.encode(budget)
        assert sum(len(uri) for uri in encoded if uri) <= budget
        assert encoded[0] is not None
    assert pictures.add(tmp_path / "none.png", [0, 0, 1, 1]) is None


EXERCISE = """
<script>
(async () => {
  const seen = {};
  const get = (id) => document.getElementById(id);
  const change = (node, value) => {
    if (node.type === "checkbox" || node.type === "radio") node.checked = value;
    else node.value = value;
    node.dispatchEvent(new Event(node.type === "range" ? "input" : "change", { bubbles: true }));
  };
  const wait = () => new Promise((done) => setTimeout(done, 30));
  const ap = () => get("headline").querySelector("tbody tr td:nth-child(2)").firstChild.textContent;
  const ink = (canvas) => canvas.toDataURL();
  try {
    seen.ap = {};
    for (const radio of document.getElementsByName("criterion")) { change(radio, true); seen.ap[radio.value] = ap(); }
    change(document.getElementsByName("criterion")[0], true);
    const lines = () => get("curves").querySelectorAll(".line").length;
    const bands = () => get("curves").querySelectorAll(".band").length;
    seen.lines = [lines()]; seen.bandPaths = [bands()];
    const run = get("runs").querySelector("input");
    change(run, false); seen.lines.push(lines()); seen.columns = get("headline").querySelectorAll("th").length;
    change(run, true); seen.lines.push(lines());
    change(get("intervals"), false); seen.bandPaths.push(bands()); change(get("intervals"), true);
    const svg = get("curves").querySelector("svg"), frame = svg.getBoundingClientRect();
    const over = { clientX: frame.left + frame.width * 0.5, clientY: frame.top + frame.height * 0.3 };
    svg.dispatchEvent(new PointerEvent("pointermove", over));
    const tip = svg.parentNode.querySelector(".tip");
    seen.tip = tip.hidden ? "" : tip.textContent;
    svg.dispatchEvent(new PointerEvent("pointerleave")); seen.tipGone = tip.hidden;
    const cells = (n) => [...get("groups").querySelectorAll(`tbody td:nth-child(${n})`)];
    const column = (n) => cells(n).map((cell) => cell.textContent);
    seen.groups = {};
    for (const { value } of get("group").options) { change(get("group"), value); seen.groups[value] = column(1); }
    const sorter = get("groups").querySelectorAll("th button")[3];
    sorter.click(); seen.falling = column(4); sorter.click(); seen.rising = column(4);
    const cards = () => [...document.querySelectorAll(".error")];
    await Promise.all(cards().map((card) => card.painted));
    seen.cards = [cards().length];
    const first = cards()[0].querySelector("canvas");
    const painted = first.getContext("2d").getImageData(0, 0, first.width, first.height).data;
    seen.grays = new Set(painted).size;
    change(get("gallery-error"), "miss"); seen.cards.push(cards().length);
    seen.titles = [...new Set(cards().map((card) => card.querySelector("b").textContent.split(":")[0]))];
    change(get("gallery-kind"), "not detected"); seen.cards.push(cards().length);
    change(get("gallery-run"), "large"); seen.cards.push(cards().length);
    change(get("gallery-run"), ""); change(get("gallery-kind"), ""); change(get("gallery-error"), "false call");
    change(get("gallery-sort"), "score");
    seen.scores = cards().map((card) => Number(/score ([0-9.]+)/.exec(card.textContent)[1]));
    for (const sort of ["size", "iou", "file", "rank"]) change(get("gallery-sort"), sort);
    cards()[0].click(); await wait();
    seen.open = get("zoom").open; seen.zoomTitle = [get("zoom-title").textContent];
    const canvas = get("zoom-canvas");
    const differs = async (action) => {
      const before = ink(canvas);
      action();
      await wait();
      return ink(canvas) !== before;
    };
    seen.zooms = {};
    for (const name of ["in", "out", "whole", "next", "previous"])
      seen.zooms[name] = await differs(() => get("zoom-" + name).click());
    get("zoom-next").click(); await wait(); seen.zoomTitle.push(get("zoom-title").textContent);
    seen.zooms.contrast = await differs(() => change(get("zoom-contrast"), 0));
    seen.zooms.boxes = await differs(() => change(get("zoom-boxes"), false));
    const turn = new WheelEvent("wheel", { deltaY: -1, cancelable: true });
    seen.zooms.wheel = await differs(() => canvas.dispatchEvent(turn));
    get("zoom-close").click(); seen.closed = !get("zoom").open;
    const details = document.querySelector("details"); details.open = true;
    seen.config = details.querySelector("pre").textContent;
    seen.text = document.body.innerText;
  } catch (error) { seen.error = String(error.stack); }
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
})();
</script>
"""


def dump(page: Path, script: str, width: int = 1280) -> str:
    """Open a copy of the page with a script added in headless Chromium, offline, and return what it became."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    copy = page.with_name(f"opened-{width}.html")
    copy.write_text(page.read_text().replace("</body>", script + "</body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom",
        "--disable-dev-shm-usage", f"--user-data-dir={page.parent / f'profile-{width}'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", copy.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=400).stdout


def browse(page: Path) -> dict:
    """Press every control of the page and return what was seen."""
    found = re.search(r'<pre id="seen">(.*?)</pre>', dump(page, EXERCISE), re.DOTALL)
    assert found, "the page was not opened, or its script failed"
    seen = json.loads(html.unescape(found.group(1)))
    assert "error" not in seen, seen["error"]
    return seen


def test_every_control_works_in_a_browser(report: Path) -> None:
    seen = browse(report)
    small = page_data(report)["runs"][0]
    assert seen["ap"] == {name: f"{value['metrics']['ap']:.3f}" for name, value in small["criteria"].items()}
    assert seen["lines"] == [8, 4, 8]
    assert seen["columns"] == 2
    assert seen["bandPaths"][0] == 4
    assert seen["bandPaths"][1] == 0
    assert re.search(r"(small|large).*recall.*precision", seen["tip"])
    assert seen["tipGone"]
    assert seen["groups"]["series"][:3] == ["C0", "C1", "C2"]
    assert seen["groups"]["class"][:2] == ["pore", "</script> crack"]
    falling = [int(value) for value in seen["falling"]]
    assert falling == sorted(falling, reverse=True)
    assert [int(value) for value in seen["rising"]] == sorted(falling)
    assert seen["grays"] > 20
    every, misses, unseen, of_one = seen["cards"]
    assert every > misses > unseen > of_one > 0
    assert seen["titles"] == ["miss"]
    assert seen["scores"] == sorted(seen["scores"], reverse=True)
    assert seen["open"]
    assert seen["closed"]
    assert seen["zoomTitle"][0] != seen["zoomTitle"][1]
    assert all(seen["zooms"].values()), seen["zooms"]
    assert "faster_rcnn" in seen["config"]
    assert not re.search(r"NaN|undefined|Infinity|\[object", seen["text"])


@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_is_never_wider_than_the_window(report: Path, width: int) -> None:
    script = "<script>document.title = document.documentElement.scrollWidth - window.innerWidth;</script>"
    assert int(re.search(r"<title>(-?\d+)</title>", dump(report, script, width)).group(1)) <= 0


def test_command(report: Path, tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "tools" / "report.py"))["main"]
    options = ["--out", str(tmp_path / "r.html"), "--resamples", "5"]
    done = CliRunner().invoke(main, [str(report.parent / "small"), *options])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.html").stat().st_size < 5_000_000
    assert CliRunner().invoke(main, [str(tmp_path)]).exit_code == 2
