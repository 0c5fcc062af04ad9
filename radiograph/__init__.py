"""The commands of the toolkit; `detectors` and `data` do the work."""

from detectors.version import __version__ as __version__
