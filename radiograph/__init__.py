"""The commands of the toolkit; `detectors` and `data` do the work."""

__version__ = "0.2.0.dev0"
