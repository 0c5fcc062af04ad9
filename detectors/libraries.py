"""The versions of the libraries that can change an answer."""

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "numpy", "torch", "torchvision", "onnxruntime", "opencv-python-headless", "imagecodecs", "tifffile", "pydicom",
)  # fmt: skip


def library_versions() -> dict[str, str | None]:
    """Return the versions of the libraries that can change an answer, None for those that are not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions
