"""What a run leaves behind while it trains: a CSV table and TensorBoard events."""

import csv
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from data.files import atomic_path

Row = dict[str, float | int | None]


class RunLog:
    """A row an epoch, in `log.csv` and as TensorBoard scalars.

    The CSV is written whole at every row, so that it is never half a line, and after a resume it holds the rows
    up to the checkpoint and no others.
    """

    def __init__(self, folder: Path, epochs_done: int) -> None:
        self.path = folder / "log.csv"
        self.rows = [row for row in _read_rows(self.path) if int(row["epoch"]) <= epochs_done]
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs_done + 1)

    def add(self, row: Row) -> None:
        """Write the figures of one epoch; None stands for 'not measured'."""
        self.rows.append({name: "" if value is None else value for name, value in row.items()})
        names = list(dict.fromkeys(name for entry in self.rows for name in entry))
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names, restval="")
            table.writeheader()
            table.writerows(self.rows)
        for name, value in row.items():
            if value is not None and name != "epoch":
                self.writer.add_scalar(name.replace("loss_", "loss/"), value, int(row["epoch"] or 0))

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Add an example picture, uint8 [H, W, 3], to TensorBoard."""
        self.writer.add_image(name, picture, epoch, dataformats="HWC")

    def close(self) -> None:
        """Flush the events."""
        self.writer.close()


def _read_rows(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
