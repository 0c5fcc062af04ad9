"""Hold the bound on missed defects against 200 random splits, and against radiographs of another part.

    python benchmarks/bounded_misses.py EVALUATION OTHER --out bounded_misses.png

EVALUATION and OTHER are evaluations of the same detector (`radiograph evaluate`).
"""

from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from data.console import console
from data.errors import InputError
from detectors.decisions.bounds import split_losses
from detectors.decisions.missed import scores_by_radiograph
from detectors.evaluation.plots import COLORS, quiet, save_figure
from detectors.evaluation.runs import read_run

ALPHAS = (0.2, 0.25, 0.3, 0.4, 0.5)
SPLITS = 200


@click.command()
@click.argument("evaluation", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("bounded_misses.png"))
def main(evaluation: Path, other: Path, out: Path) -> None:
    own, foreign = (
        scores_by_radiograph(read_run(path).overlaps.match(criterion="center")) for path in (evaluation, other)
    )
    console.print(f"{len(own)} radiographs with defects, {len(foreign)} of the other part, {SPLITS} splits")
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    shown = []
    for alpha in ALPHAS:
        try:
            losses = split_losses(own, alpha, SPLITS, others=foreign)
        except InputError as error:
            console.print(f"alpha {alpha}: {error}")
            continue
        shown.append(alpha)
        for place, (name, loss) in enumerate(zip(("same", "other"), losses, strict=True)):
            middle = float(loss.mean())
            low, high = np.quantile(loss, [0.05, 0.95]).tolist()
            console.print(f"alpha {alpha}, {name}: mean {middle:.3f} (5 % {low:.3f}, 95 % {high:.3f})")
            axes.errorbar(alpha + 0.006 * (2 * place - 1), middle, [[middle - low], [high - middle]], fmt="o",
                          color=COLORS[place], label=("other half of the same", "another part")[place]
                          if len(shown) == 1 else None)  # fmt: skip
    axes.plot(shown, shown, color="#888888", label="bound")
    axes.set(xlabel="bound on the expected share of missed defects", ylabel="share missed", ylim=(0, 1),
             title=f"{SPLITS} random halves: mean, 5 % and 95 %")  # fmt: skip
    quiet(axes)
    axes.legend(loc="upper left")
    save_figure(figure, out)


if __name__ == "__main__":
    main()
