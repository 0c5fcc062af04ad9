"""`python -m radiograph`, for launchers that start a module."""

from radiograph.cli import main

main(prog_name="radiograph")
