"""The version of the toolkit, which exported models and the command name."""

__version__ = "0.2.0.dev0"
