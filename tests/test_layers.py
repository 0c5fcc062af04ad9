"""Imports between folders run one way: what CONTRIBUTING.md says of them, read from the source."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported_modules(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def room_of(module: str) -> str:
    """Return the folder or file directly in `detectors/` that a module lies in; of others the top folder."""
    top, _, rest = module.partition(".")
    return f"{top}.{rest.partition('.')[0]}" if top == "detectors" and rest else top


def imports_by_room() -> dict[str, set[str]]:
    graph = defaultdict(set)
    for top in ("data", "detectors", "radiograph"):
        for file in (ROOT / top).rglob("*.py"):
            room = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
            for module in imported_modules(file):
                if module.partition(".")[0] in ("data", "detectors", "radiograph") and room_of(module) != room:
                    graph[room].add(room_of(module))
    return graph


def test_no_folder_imports_what_imports_it() -> None:
    order = [*TopologicalSorter(imports_by_room()).static_order()]  # raises CycleError, which names the circle
    assert order.index("data") < order.index("detectors.evaluation") < order.index("radiograph")


def test_data_and_evaluation_need_nothing_above_them() -> None:
    graph = imports_by_room()
    assert not graph["data"]
    assert graph["detectors.evaluation"] == {"data"}


def test_only_commands_use_experiments() -> None:
    users = {room for room, rooms in imports_by_room().items() if "detectors.experiments" in rooms}
    assert users == {"radiograph"}
