"""Metrics of runs as a table for people."""

from collections.abc import Mapping

from rich.table import Table

from detectors.evaluation.metrics import Metrics, display, title_of


def metrics_table(runs: Mapping[str, Metrics]) -> Table:
    """Return a table with one column a run and one row a metric that at least one run has; "n/a" for None."""
    table = Table("metric", *runs, title="results")
    names = list(dict.fromkeys(name for metrics in runs.values() for name in metrics))
    for name in names:
        values = [metrics.get(name) for metrics in runs.values()]
        if any(value is not None for value in values):
            table.add_row(title_of(name), *(display(value) for value in values))
    return table
