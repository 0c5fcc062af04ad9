"""The console command: every subcommand is found, listed once, quick to explain itself and linked from tools/."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from data.volumes.ct_parts import PARTS as CT_KINDS
from radiograph.cli import FORMER_NAMES, STEPS, command_names, main

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
SECONDS_OF_HELP = 0.7  # of processor time
IMPORTS_NOTHING_HEAVY = """
import sys
sys.argv = ["radiograph", {name!r}, "--help"]
from radiograph.cli import main
try:
    main()
finally:
    heavy = sorted({{"torch", "torchvision", "cv2", "scipy", "matplotlib", "pydicom", "numpy"}} & set(sys.modules))
    assert not heavy, heavy
"""
WITH_TORCH = {"datasets", "epochs", "fresh_phantoms", "patch_datasets", "segmentation", "volumes.patches"}  # data sets
DATA_MODULES = sorted(
    name
    for path in (ROOT / "data").rglob("*.py")
    if (name := ".".join(path.relative_to(ROOT).with_suffix("").parts)).removeprefix("data.") not in WITH_TORCH
)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_every_command_is_listed_once_and_has_its_module() -> None:
    modules = {path.stem for path in (ROOT / "radiograph" / "commands").glob("*.py")} - {"__init__"}
    assert sorted(name.replace("-", "_") for name in command_names()) == sorted(modules)


def test_every_command_can_be_run_from_tools() -> None:
    named = {name.replace("-", "_"): name for name in (*command_names(), *FORMER_NAMES)}
    assert {path.stem for path in TOOLS.glob("*.py")} == set(named)
    for stem, name in named.items():
        module = FORMER_NAMES.get(name, name).replace("-", "_")
        assert f"from radiograph.commands.{module} import main" in (TOOLS / f"{stem}.py").read_text(), stem


def test_help_sorts_the_commands_by_step() -> None:
    output = CliRunner().invoke(main, ["--help"], terminal_width=120).output
    lines = [line.split()[0] for line in output.splitlines() if line.startswith("  ") and line.split()]
    places = [output.index(f"{step}:") for step in STEPS]
    assert places == sorted(places)
    assert [line for line in lines if line in command_names()] == command_names()


@pytest.mark.parametrize("name", command_names())
def test_help_is_quick_and_complete(name: str) -> None:
    """Nothing heavy is imported; the time itself is asserted once, below, where a busy machine matters less."""
    done = python(IMPORTS_NOTHING_HEAVY.format(name=name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: radiograph {name}")


def test_help_takes_little_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, TOOLS / "train.py", "--help"], capture_output=True, check=False, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS_OF_HELP


@pytest.mark.parametrize("name", command_names())
def test_options_are_long_words_with_a_help_text_each(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(option.startswith("--") for option in parameter.opts), parameter.opts


@pytest.mark.parametrize(("former", "name"), FORMER_NAMES.items())
def test_former_names_still_work(former: str, name: str) -> None:
    context = click.Context(main)
    assert main.get_command(context, former) is main.get_command(context, name)
    assert main.get_command(context, former.replace("-", "_")) is main.get_command(context, name)


def test_an_unknown_command_names_the_nearest() -> None:
    result = CliRunner().invoke(main, ["trian"])
    assert (result.exit_code, "did you mean 'train'?" in result.stderr) == (2, True)
    result = CliRunner().invoke(main, ["evall"])
    assert (result.exit_code, "did you mean 'evaluate'?" in result.stderr) == (2, True)


def test_choices_and_defaults_are_those_of_the_library() -> None:
    """Commands repeat a few values as literals, so that their help imports nothing."""
    from data.duplicates import SIMILARITY
    from data.gdxray import GROUP_FOLDERS
    from data.patch_files import ORIGINS
    from data.splits import FRACTIONS, METHODS
    from data.synthesis.phantom import FORMER_STYLES, PHANTOM_KINDS, STYLES
    from detectors.experiments.defect_mixes import MIXES

    def parameter(command_name: str, name: str) -> click.Parameter:
        command = main.get_command(click.Context(main), command_name)
        assert command is not None
        return next(p for p in command.params if p.name == name)

    def choices(command_name: str, name: str) -> list[str]:
        return list(parameter(command_name, name).type.choices)  # type: ignore[attr-defined]

    assert parameter("check-data", "similarity").default == SIMILARITY
    assert choices("prepare-gdxray", "group") == list(GROUP_FOLDERS)
    assert choices("prepare-gdxray", "method") == list(METHODS)
    assert parameter("prepare-gdxray", "fractions").default == FRACTIONS
    assert choices("make-patches", "origin") == list(ORIGINS)
    assert choices("make-phantoms", "kind") == [*PHANTOM_KINDS, *CT_KINDS]
    assert choices("make-phantoms", "style") == list(STYLES)
    assert parameter("make-phantoms", "style").type.former == FORMER_STYLES  # type: ignore[attr-defined]
    assert parameter("compare-defect-mixes", "mixes").default == MIXES


def test_data_imports_no_torch() -> None:
    code = f"import importlib, sys\nfor name in {DATA_MODULES!r}: importlib.import_module(name)\n"
    done = python(code + "print('torch' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("name", ["prepare_gdxray", "check_data", "make_patches", "make_phantoms", "simulate_defects"])
def test_commands_on_data_alone_never_import_torch(name: str, castings: Path, tmp_path: Path) -> None:
    """Each does its work, without torch in the process."""
    gdxray = tmp_path / "gdxray" / "Castings" / "C0001"
    gdxray.mkdir(parents=True)
    content = json.loads(castings.read_text())
    for image in content["images"]:
        (gdxray / image["file_name"]).write_bytes((castings.parent / image["file_name"]).read_bytes())
    (gdxray / "ground_truth.txt").write_text("2 10 40 10 40\n")
    arguments = {
        "prepare_gdxray": (tmp_path / "gdxray", "--split", "none", "--out", tmp_path / "out"),
        "check_data": (castings, "--images", castings.parent),
        "make_patches": (castings, "--per-image", 1, "--out", tmp_path / "patches.npz"),
        "make_phantoms": ("--count", 1, "--workers", 1, "--size", "128x96", "--out", tmp_path / "out"),
        "simulate_defects": (castings, "--per-image", 1, "--out", tmp_path / "out"),
    }[name]
    command = [sys.executable, "-X", "importtime", TOOLS / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "numpy" in imported
    assert "torch" not in imported
