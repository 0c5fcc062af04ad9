"""What an inspector decided otherwise: a log that only grows, each line bound to the one before by its hash.

A line's hash covers the line and the hash of the line before, the first one the seal of the bundle. `head.json` holds
the number of lines and the last hash, so that lines missing from the end are seen as well. Whoever rewrites both files
consistently is not seen by the bundle alone: note the head, which every check prints, elsewhere, and give it to the
next check (`radiograph verify --head`).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import write_json
from data.locks import FolderLock
from detectors.qualification.bundle import HEAD, OVERRIDES, read_bundle, text_hash
from detectors.runtime.folder import file_hash

LOG = "log.jsonl"
LONGEST = 2000  # characters of a text


@dataclass(frozen=True)
class Log:
    """A log as it is: its lines, what is wrong with it, and the hash that stands for all of it."""

    entries: list[dict[str, Any]]
    issues: list[str]
    head: str

    @property
    def hashes(self) -> set[str]:
        """Hashes of all lines."""
        return {str(entry["hash"]) for entry in self.entries}


def append_override(
    folder: Path, radiograph: Path, before: str, after: str, inspector: str, reason: str, when: datetime | None = None
) -> dict[str, Any]:
    """Append a decision to the log of a bundle and return its line.

    Args:
        folder: the bundle.
        radiograph: the file that was decided on; its hash is kept where it is at hand.
        before: what the system said, such as "accept", or a call that it made.
        after: what the inspector decided.
        inspector: who.
        reason: why, which may not be empty.
        when: now by default.

    Raises InputError for an empty text, and where the log so far is not whole; nothing is written then.

    """
    bundle = read_bundle(folder)
    texts = {"from": before, "to": after, "inspector": inspector, "reason": reason}
    for name, text in texts.items():
        if not text.strip() or len(text) > LONGEST:
            raise InputError(f"--{name} must have 1 to {LONGEST} characters; give it")
    home = folder / OVERRIDES
    home.mkdir(exist_ok=True)
    try:
        lock = FolderLock(home)
    except BlockingIOError as error:
        raise InputError(f"{home}: another process appends to the log at this moment; try again") from error
    try:
        log = check_log(folder, bundle.seal)
        if log.issues:
            raise InputError(f"{home}: the log is not whole ({log.issues[0]}); nothing is appended to it")
        entry: dict[str, Any] = {
            "number": len(log.entries) + 1,
            "time": (when or datetime.now(UTC)).isoformat(timespec="seconds"),
            "radiograph": str(radiograph),
            "sha256": file_hash(radiograph) if radiograph.is_file() else None,
            **texts,
            "previous": log.head,
        }
        entry["hash"] = entry_hash(entry)
        with (home / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        write_json(home / HEAD, {"lines": entry["number"], "hash": entry["hash"]})
    finally:
        lock.release()
    return entry


def check_log(folder: Path, seal: str) -> Log:
    """Return the log of a bundle with the seal `seal`, and what is wrong with it: removed, changed or added lines."""
    home = folder / OVERRIDES
    try:
        lines = (home / LOG).read_text(encoding="utf-8").splitlines() if (home / LOG).is_file() else []
        head = json.loads((home / HEAD).read_text(encoding="utf-8")) if (home / HEAD).is_file() else None
        count, last = (0, seal) if head is None else (int(head["lines"]), str(head["hash"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Log([], [f"overrides: cannot be read ({error})"], "")
    entries, issues = [], []
    previous = seal
    for number, line in enumerate(lines, start=1):
        issue = _issue(line, number, previous)
        if issue is not None:
            issues.append(f"overrides: line {number} {issue}")
            break
        entries.append(json.loads(line))
        previous = str(entries[-1]["hash"])
    if head is None:
        issues.append(f"overrides: {HEAD} is missing, so that lines may be missing, too")
    # One line more than the head knows, and rightly chained, is an append that was interrupted: the next one heals it.
    interrupted = len(entries) == count + 1 and entries[-1].get("previous") == last
    if not issues and not interrupted and (len(entries) != count or previous != last):
        issues.append(f"overrides: {len(entries)} lines, and {HEAD} counts {count}: lines were removed or rewritten")
    return Log(entries, issues, previous)


def entry_hash(entry: dict[str, Any]) -> str:
    """Return the hash of a line, which covers all but itself, the hash of the line before included."""
    content = {name: value for name, value in entry.items() if name != "hash"}
    return text_hash(json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def _issue(line: str, number: int, previous: str) -> str | None:
    """Return what is wrong with a line, None where nothing is."""
    try:
        entry = json.loads(line)
        if entry["previous"] != previous or entry["number"] != number:
            return "does not follow the line before: a line was removed, added or moved"
        if entry["hash"] != entry_hash(entry):
            return "was changed: its hash differs"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "is damaged"
    return None


def override_rows(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the overrides of a bundle as text, for a report; none where the folder is no bundle or has no log."""
    if not (folder / OVERRIDES / LOG).is_file():
        return
    bundle = read_bundle(folder)
    for entry in check_log(folder, bundle.seal).entries:
        names = ("number", "time", "radiograph", "from", "to", "inspector", "reason")
        yield {name: str(entry[name]) for name in names}
