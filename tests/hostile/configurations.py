"""Configurations and overrides with values of other types, broken YAML, and YAML that constructs or expands."""

from pathlib import Path

import numpy as np
import yaml

from detectors.config.files import CONFIGS, read_config, write_config
from tests.hostile.mutation import VALUES, changed_bytes, changed_values
from tests.hostile.worker import Case

YAML_VALUES = tuple(v for v in VALUES if not (isinstance(v, str) and "\ud800" in v))  # what YAML can write
SNIPPETS = (
    *("2021-02-30", "2021-01-01 25:61", "0x", "0b2", "0o", "1_", "1:60:60", ".inf", "-.inf", ".nan", "1e999"),
    *("9" * 4500),
    *("!!python/name:os.system", "!!python/object/apply:os.getcwd []", "!!int one", "!!float one", "!!timestamp one"),
    *("!!binary ???", "!!set {1, 2}", "!!omap [1]", "!!null x", "!unknown x", "&x [*x]", "&x {a: *x}"),
    *("*missing", "<<: 1"),
    *("{<<: [1]}", "[" * 2000, "{" * 2000, "- " * 2000, "? ", "? {a: b}", "|", ">-", "%TAG", "@at", "`tick"),
    *("\t- x", "---"),
    *("...", "\x01", "\x85", "\ufeff", "'open", '"\\x"', '"\\ud800"', "{a: 1, a: 2}", "[1, [2, [3]]]", "{name: [x]}"),
    *("{name: {x: 1}}", "{name: null}", "~", "", "true", "x: y: z", "a #b", "0"),
)  # fmt: skip
FIELDS = (
    *("model", "model.name", "model.x", "train", "train.lr", "train.epochs", "train.schedule", "data", "data.train"),
    *("data.train.0", "data.train.1", "data.train.99", "data.train.0.phantoms.n", "data.val", "data.window"),
    *("data.workers"),
    *("data.augmentation", "data.augmentation.crop.size", "seed", "name", "output", "extends", "", "."),
    *("a..b", "0", "-1"),
)  # fmt: skip
BOMB = "".join(f"b{k}: &b{k} [{', '.join([f'*b{k - 1}' if k else 'x'] * 10)}]\n" for k in range(10))


def make_case(folder: Path) -> Case:
    """Return the case that reads a configuration; what is read must be the same after it is written."""
    seeds = [path.read_text(encoding="utf-8") for path in sorted(CONFIGS.glob("*.yaml"))]
    path, written = folder / "experiment.yaml", folder / "written.yaml"

    def case(number: int) -> None:
        rng = np.random.default_rng([14, number])
        text = seeds[number % len(seeds)]
        content, overrides = text.encode(), []
        match number // len(seeds) % 4:
            case 0:
                content = yaml.safe_dump(changed_values(yaml.safe_load(text), rng, values=YAML_VALUES)).encode()
            case 1:
                lines = text.splitlines()
                at = int(rng.integers(len(lines)))
                key = lines[at].partition(":")[0]
                lines[at] = f"{key}: {SNIPPETS[int(rng.integers(len(SNIPPETS)))]}"
                content = "\n".join(lines).encode("utf-8")
                if rng.random() < 0.05:
                    content = (BOMB + f"{key}: *b9\n").encode()
            case 2:
                content = changed_bytes(content, rng)
            case 3:
                picks = rng.integers(len(FIELDS)), rng.integers(len(SNIPPETS))
                overrides = [f"{FIELDS[int(picks[0])]}={SNIPPETS[int(picks[1])]}"]
                if rng.random() < 0.3:
                    overrides.append(SNIPPETS[int(rng.integers(len(SNIPPETS)))])
        path.write_bytes(content)
        config = read_config(path, overrides)
        write_config(written, config)
        assert read_config(written).as_dict() == config.as_dict()

    return case
