"""What a run leaves behind while it trains: a CSV table and TensorBoard events."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from data.files import atomic_path

Row = dict[str, float | int | None]


class RunLog:
    """A row an epoch, in `log.csv` and as TensorBoard scalars.

    The rows are saved with the checkpoint, and both are written from there: a process that is killed between
    checkpoint and log loses no epoch, and after a resume no epoch stands twice.

    Args:
        folder: the run's folder.
        done: the last epoch of which the events on the disk count; later ones are written again.

    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        self.path = folder / "log.csv"
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, rows: Sequence[Row]) -> None:
        """Write the table of all epochs, and the losses and metrics of the last; None stands for 'not measured'."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (
            atomic_path(self.path, durable=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, names, restval="")
            table.writeheader()
            table.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
        for name, value in rows[-1].items():
            if value is not None and name != "epoch":
                self.writer.add_scalar(name.replace("loss_", "loss/"), value, int(rows[-1]["epoch"] or 0))
        self.writer.flush()

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Add an example picture, RGB uint8 [H, W, 3], to TensorBoard."""
        self.writer.add_image(name, picture, epoch, dataformats="HWC")

    def close(self) -> None:
        """Flush the events."""
        self.writer.close()


def read_rows(path: Path, epochs: int) -> list[Row]:
    """Return the rows of the first `epochs` of a `log.csv`, for a run whose checkpoint holds none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_row(entry) for entry in csv.DictReader(file) if _number(entry.get("epoch")) in range(1, epochs + 1)]


def _row(entry: Mapping[str, str]) -> Row:
    row: Row = {name: _number(value) for name, value in entry.items() if name is not None}
    return row | {"epoch": int(row["epoch"] or 0)}


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
