"""Independent tasks on a Ray cluster give what processes give, errors included."""

from pathlib import Path

import pytest

pytest.importorskip("ray")

from data.errors import InputError
from data.synthesis.phantom_shards import write_phantom_shards
from detectors.archives.tasks import RayTasks
from tests.data.test_tasks import work

ROOT = Path(__file__).parents[3]


def test_without_items_no_cluster_is_asked() -> None:
    assert list(RayTasks("127.0.0.1:1")(work, [])) == []


@pytest.mark.slow
def test_a_cluster_writes_the_same_shards_and_raises_what_a_task_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # Ray's workers import the function by its module
    monkeypatch.chdir(tmp_path)
    for name, tasks in (("here", None), ("cluster", RayTasks("local", 2))):
        write_phantom_shards("castings", 5, Path(name), 3, 3, style="easy", size=(96, 80), workers=1, tasks=tasks)
    files = [path.relative_to("here") for path in Path("here").rglob("*") if path.is_file()]
    assert len(files) == 10
    for file in files:
        assert Path("cluster", file).read_bytes() == Path("here", file).read_bytes()
    with pytest.raises(InputError, match=r"casting\.png: torn"):
        list(RayTasks("local", 2)(work, [1, "fail"]))
