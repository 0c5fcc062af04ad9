#!/usr/bin/env python3
"""Write the pages that are made from the code: configuration.md, its JSON schema, and commands.md."""

from pathlib import Path

from data.files import write_text
from detectors.config.reference import reference_page, schema_text
from radiograph.reference import commands_page

DOCS = Path(__file__).resolve().parent
PAGES = {
    DOCS / "commands.md": commands_page,
    DOCS / "configuration.md": reference_page,
    DOCS / "configuration.schema.json": schema_text,
}


def main() -> None:
    """Write every page."""
    for path, text in PAGES.items():
        write_text(path, text())
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
