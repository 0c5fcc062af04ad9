"""Archives in a store: the whole way against an S3 server on this machine, and what can go wrong with a store."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from archives import encoded, parts_of
from click.testing import CliRunner, Result
from failures import check_one_line
from moto.server import ThreadedMotoServer

from data.archives import places
from data.archives.archive import find_archive, list_archive
from data.archives.parts import read_part, write_part
from data.archives.schema import DETECTIONS, RADIOGRAPHS
from detectors.archives.job import Job, Unit
from detectors.archives.job import Result as UnitResult
from detectors.archives.processes import Processes
from radiograph.cli import main

s3fs = pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """An empty store with the bucket `films`, which the commands reach as they would any other."""
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("films")
    yield system
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST"))
    s3fs.S3FileSystem.clear_instance_cache()


def predict(model: Path, archive: str | Path, out: Path, *more: str) -> Result:
    arguments = ["predict", "--run", str(model), "--workers", "1", "--part-size", "4", "--out", str(out), *more]
    result = CliRunner().invoke(main, [*arguments, str(archive)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fill(system: s3fs.S3FileSystem, folder: Path, count: int) -> None:
    """Put the same radiographs into the bucket and into a folder."""
    for index in range(count):
        name = f"{'ab'[index % 2]}/{index}.png"
        system.pipe(f"films/2026/{name}", encoded(index))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(index))


def names_in(out: Path) -> list[str]:
    return [
        name
        for path in sorted((out / "detections").iterdir())
        for batch in read_part(path, DETECTIONS, ["file"])
        for name in batch.column("file").to_pylist()
    ]


def test_a_bucket_gives_what_a_folder_gives(model: Path, store: s3fs.S3FileSystem, tmp_path: Path) -> None:
    fill(store, tmp_path / "in", 10)
    store.pipe("films/2026/notes.txt", b"no radiograph")
    result = predict(model, "s3://films/2026", tmp_path / "remote")
    assert result.exit_code == 0, result.output
    assert predict(model, tmp_path / "in", tmp_path / "local").exit_code == 0
    remote, local = parts_of(tmp_path / "remote"), parts_of(tmp_path / "local")
    assert [name for name in local if remote[name] != local[name]] == ["manifest.json"]  # which names the archive
    assert len(names_in(tmp_path / "remote")) == 10


def test_listing_goes_page_by_page(store: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(7):
        store.pipe(f"films/x/{index}.png", b"x")
    pages = []
    plain = s3fs.S3FileSystem.call_s3

    def two_at_once(self: s3fs.S3FileSystem, method: str, **arguments: object) -> dict:
        pages.append(method)
        return plain(self, method, **arguments, MaxKeys=2)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", two_at_once)
    assert [row["file"] for row in list_archive(find_archive("s3://films/x"))] == [f"{k}.png" for k in range(7)]
    assert pages == ["list_objects_v2"] * 4


def test_shards_in_a_bucket_and_addresses_in_a_list(model: Path, store: s3fs.S3FileSystem, tmp_path: Path) -> None:
    rows = pa.table([[f"{k}.png" for k in range(6)], [encoded(k) for k in range(6)]], schema=RADIOGRAPHS)
    write_part(tmp_path / "part.parquet", rows, row_group=4)
    store.put(str(tmp_path / "part.parquet"), "films/shards/part.parquet")
    assert predict(model, "s3://films/shards", tmp_path / "shards").exit_code == 0
    assert names_in(tmp_path / "shards") == [f"{k}.png" for k in range(6)]
    store.pipe("films/one.png", encoded(1))
    (tmp_path / "list.txt").write_text("s3://films/one.png\ns3://films/none.png\n")
    assert predict(model, tmp_path / "list.txt", tmp_path / "listed").exit_code == 0
    assert names_in(tmp_path / "listed") == ["s3://films/one.png"]
    assert "none.png: no such file" in (tmp_path / "listed" / "unreadable.csv").read_text()


def test_a_missing_bucket_is_named(model: Path, store: s3fs.S3FileSystem, tmp_path: Path) -> None:
    check_one_line(predict(model, "s3://nowhere/x", tmp_path / "o"), "s3://nowhere/x", "there is no such bucket")
    check_one_line(predict(model, "s3://films/none", tmp_path / "o"), "s3://films/none", "there is no such bucket")


def test_refused_access_is_said(
    model: Path, store: s3fs.S3FileSystem, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, tmp_path / "in", 2)
    told = {"url": f"{server}/moto-api/reset-auth", "headers": {"Content-Type": "text/plain"}, "method": "POST"}
    urllib.request.urlopen(urllib.request.Request(**told, data=b"0"))  # from now on it asks who is there
    try:
        check_one_line(predict(model, "s3://films/2026", tmp_path / "o"), "access is refused", "check the credentials")
    finally:
        urllib.request.urlopen(urllib.request.Request(**told, data=b"inf"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    check_one_line(predict(model, "s3://films/2026", tmp_path / "o"), "access is refused", "check the credentials")


def test_a_server_that_does_not_answer_is_said(
    model: Path, store: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    check_one_line(predict(model, "s3://films/2026", tmp_path / "o"), "s3://films/2026: cannot be read", "the network")


def test_a_bucket_that_disappears_stops_the_run_and_loses_nothing(
    model: Path, store: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, tmp_path / "in", 10)
    assert predict(model, "s3://films/2026", tmp_path / "whole").exit_code == 0
    plain = Processes.__call__

    def emptied(engine: Processes, job: Job, units: Iterator[Unit]) -> Iterator[UnitResult]:
        for number, result in enumerate(plain(engine, job, units)):
            yield result
            if number == 0:
                store.rm("films", recursive=True)

    with monkeypatch.context() as patch:
        patch.setattr(Processes, "__call__", emptied)
        check_one_line(predict(model, "s3://films/2026", tmp_path / "o"), "s3://films/2026: there is no such bucket")
    assert len(names_in(tmp_path / "o")) == 4
    assert not (tmp_path / "o" / "unreadable").exists()
    store.mkdir("films")
    fill(store, tmp_path / "in", 10)
    assert predict(model, "s3://films/2026", tmp_path / "o").exit_code == 0
    assert parts_of(tmp_path / "o") == parts_of(tmp_path / "whole")


def test_an_object_that_is_too_large_is_not_fetched(
    model: Path, store: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, tmp_path / "in", 3)
    store.pipe("films/2026/huge.png", bytes(30_000))
    monkeypatch.setattr(places, "OVERHEAD", 20_000 - 4 * 32 * 48)
    result = predict(model, "s3://films/2026", tmp_path / "o", "--max-pixels", str(32 * 48))
    assert result.exit_code == 0, result.output
    assert "huge.png: 30000 bytes are more" in (tmp_path / "o" / "unreadable.csv").read_text()
    assert len(names_in(tmp_path / "o")) == 3
