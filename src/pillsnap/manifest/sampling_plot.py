"""sampling.png: pills per class; shares of each light, background, side, latitude by split."""

from collections import Counter
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pillsnap import files
from pillsnap.dataset.manifest import SPLITS, Rows
from pillsnap.dataset.names import MEANINGS

COLOURS = {"train": "#4c78a8", "val": "#f58518", "test": "#54a24b"}
VIEWS = ("light", "back", "direction", "latitude", "image_type")


def draw(rows: dict[str, Rows], path: Path) -> None:
    """Plot the manifests, given by split, as a PNG; its bytes depend on them only."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        axes = figure.subplots(2, 3).ravel()
        _classes(axes[0], rows)
        for axis, column in zip(axes[1:], VIEWS, strict=True):
            _shares(axis, rows, column)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        with files.replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def _classes(axis: Axes, rows: dict[str, Rows]) -> None:
    """Known pills of each class, the largest class first."""
    for split in ("train", "val"):
        known = rows[split]["class_index"][rows[split]["known"]]
        pills = np.sort(np.unique(known, return_counts=True)[1])[::-1]
        axis.plot(range(1, len(pills) + 1), pills, color=COLOURS[split])
    axis.set(title="pills per class", xlabel="classes, largest first", ylim=(0, None))


def _shares(axis: Axes, rows: dict[str, Rows], column: str) -> None:
    """The share of a split's pills with each value: equal bars mean equal splits."""
    values = sorted(set().union(*(set(table[column]) for table in rows.values())))
    for place, split in enumerate(SPLITS):
        pills = len(rows[split][column])
        counts: Counter[object] = Counter(rows[split][column])
        heights = [100 * counts[value] / max(pills, 1) for value in values]
        spots = [at + (place - 1) * 0.27 for at in range(len(values))]
        axis.bar(spots, heights, width=0.25, color=COLOURS[split], label=split)
    names = MEANINGS.get(column, {})
    axis.set_xticks(range(len(values)), [names.get(value, str(value)) for value in values])
    axis.set(title=column.replace("_", " "), ylabel="% of pills in the split")
