"""Where the radiographs of an archive lie: a folder, or a store that fsspec reaches (s3://, gs://, memory:// ...).

Nothing but a store's address needs fsspec, and nothing at all pyarrow.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from data.errors import InputError
from data.held_file import AnyFile, HeldFile
from data.image_paths import confined_path
from data.limits import max_samples
from data.radiograph import RADIOGRAPH_SUFFIXES, radiographs_in

SHARD = ".parquet"
OVERHEAD = 2**26  # bytes that a file may have beyond 4 a sample


class Place(Protocol):
    """Where files lie that are named relative to it, with forward slashes."""

    address: str

    def names(self) -> Iterator[str]:
        """Yield the names of all radiographs. Raises InputError where the place cannot be read."""
        ...

    def shards(self) -> list[str]:
        """Return the names of the Parquet files directly in it, sorted."""
        ...

    def file(self, name: str) -> AnyFile:
        """Return a file. Raises InputError where it alone cannot be read, and LostError where none can any more."""
        ...

    def open(self, name: str) -> Any:
        """Return what pyarrow opens: a path or an open file. Raises as `file`."""
        ...

    def check(self) -> None:
        """Raise LostError unless the place is there and may be read."""
        ...


class LostError(InputError):
    """A folder or store that cannot be reached any more; what was not read yet is not faulty."""


def is_address(text: str) -> bool:
    """Return whether a text is an address such as s3://bucket/folder."""
    return "://" in text


def open_place(root: str) -> Place:
    """Return the folder or store of that name, without looking whether it is there. Raises InputError."""
    return Store(root) if is_address(root) else Folder(root)


class Folder:
    """A folder of this machine, or one that all machines share."""

    def __init__(self, root: str) -> None:
        self.address = root
        self.root = Path(root)

    def names(self) -> Iterator[str]:
        """Yield the names of all radiographs, as `data.radiograph.radiographs_in` finds them."""
        self.check()
        try:
            for file in radiographs_in(self.root):
                yield file.relative_to(self.root).as_posix()
        except OSError as error:
            raise InputError(f"{error.filename or self.root}: cannot be read: {error.strerror or error}") from error

    def shards(self) -> list[str]:
        """Return the names of the Parquet files directly in it, sorted."""
        self.check()
        return sorted(file.name for file in self.root.glob(f"*{SHARD}") if not file.name.startswith("."))

    def file(self, name: str) -> Path:
        """Return the path of a file that is there."""
        path = self.root / name
        if not path.is_file():
            self.check()
            raise InputError(f"{path}: no such file")
        return path

    def open(self, name: str) -> str:
        """Return the path of a file that is there."""
        return str(self.file(name))

    def check(self) -> None:
        """Raise LostError unless the folder is there."""
        if not self.root.is_dir():
            raise LostError(f"{self.root}: no such folder; is its drive connected?")


class Confined(Folder):
    """The folder of a COCO file's images, which no name leads out of."""

    def file(self, name: str) -> Path:
        """Return the path of a file that is there."""
        confined_path(self.root, name, None)
        return super().file(name)


class Store:
    """A store behind an address. Raises InputError for one of an unknown kind, and where its package is missing."""

    def __init__(self, address: str) -> None:
        import fsspec

        self.address = address.rstrip("/") if not address.endswith("://") else address
        try:
            # Listings are not kept: they would grow with the archive, and hide that a bucket is gone.
            self.system, self.root = fsspec.core.url_to_fs(self.address, **_options(address))
        except ImportError as error:
            package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(
                address.partition("://")[0], error.name or ""
            )
            what = f"python -m pip install {package}" if package else str(error)
            raise InputError(f"{address}: needs a package that is not installed: {what}") from error
        except ValueError as error:
            raise InputError(f"{address}: {error}; give an address such as s3://bucket/folder") from error

    def names(self) -> Iterator[str]:
        """Yield the names that end as those of radiographs do, hidden ones left out; of S3 page by page."""
        self.check()
        try:
            for name in self._s3_names() if hasattr(self.system, "call_s3") else self._walk(self.root):
                parts = PurePosixPath(name)
                if parts.suffix.lower() in RADIOGRAPH_SUFFIXES and not any(p.startswith(".") for p in parts.parts):
                    yield name
        except Exception as error:  # every store has its own exceptions
            raise self._lost(error) from error

    def shards(self) -> list[str]:
        """Return the names of the Parquet files directly in it, sorted."""
        self.check()
        try:
            found = self.system.ls(self.root, detail=False)
        except Exception as error:
            raise self._lost(error) from error
        return sorted(PurePosixPath(path).name for path in found if path.endswith(SHARD))

    def file(self, name: str) -> HeldFile:
        """Return a file with its bytes."""
        path, most = self._path(name), 4 * max_samples() + OVERHEAD
        try:
            size = int(self.system.info(path)["size"] or 0)
            if size > most:
                raise InputError(f"{self._named(name)}: {size} bytes are more than a radiograph within the limit takes")
            return HeldFile(self._named(name), self.system.cat_file(path))
        except InputError:
            raise
        except Exception as error:
            raise self._refusal(name, error) from error

    def open(self, name: str) -> Any:
        """Return a file open for reading."""
        try:
            return self.system.open(self._path(name), "rb")
        except Exception as error:
            raise self._refusal(name, error) from error

    def check(self) -> None:
        """Raise LostError unless the address is there and may be listed."""
        try:
            self.system.ls(self.root, detail=False, **({"refresh": True} if hasattr(self.system, "call_s3") else {}))
        except Exception as error:
            raise self._lost(error) from error

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    def _named(self, name: str) -> str:
        return f"{self.address}/{name}"

    def _walk(self, folder: str) -> Iterator[str]:
        entries = sorted(self.system.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
        for entry in entries:
            if entry["type"] == "file":
                yield str(entry["name"]).removeprefix(self.root).lstrip("/")
        for entry in entries:
            if entry["type"] == "directory" and str(entry["name"]).rstrip("/") != folder.rstrip("/"):
                yield from self._walk(str(entry["name"]))

    def _s3_names(self) -> Iterator[str]:
        """Yield the names of all objects, a thousand at a time, in the order of their bytes."""
        bucket, _, prefix = self.root.partition("/")
        prefix = f"{prefix}/" if prefix else ""
        more: dict[str, str] = {}
        while True:
            page = self.system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            for entry in page.get("Contents", ()):
                name = str(entry["Key"]).removeprefix(prefix)
                if name and not name.endswith("/"):
                    yield name
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _refusal(self, name: str, error: Exception) -> InputError:
        """Return what is wrong: with one file, where the store answers otherwise, or with the store."""
        if not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            return self._lost(error)
        self.check()
        reason = "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
        return InputError(f"{self._named(name)}: {reason}")

    def _lost(self, error: Exception) -> InputError:
        if isinstance(error, InputError):
            return error
        if isinstance(error, FileNotFoundError):
            return LostError(f"{self.address}: there is no such bucket or folder; check the address")
        if isinstance(error, PermissionError) or "credentials" in str(error).lower():
            return LostError(f"{self.address}: access is refused ({_reason(error)}); check the credentials")
        return LostError(f"{self.address}: cannot be read ({_reason(error)}); check the address and the network")


def _options(address: str) -> dict[str, Any]:
    remote = address.partition("://")[0] in ("s3", "s3a", "gs", "gcs", "az", "abfs")
    return {"use_listings_cache": False} if remote else {}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
