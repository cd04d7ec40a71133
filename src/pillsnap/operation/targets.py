"""The metrics of a run, and the goals they are compared with."""

from typing import Any

from rich.table import Table

from pillsnap import files
from pillsnap.params import Params, at
from pillsnap.places import MODELS, Places

HEADLINES = (
    "classification.top1",
    "classification.top5",
    "classification.macro_f1",
    "classification.ece",
    "detection.map50",
    "detection.map50_95",
    "detection.precision",
    "detection.recall",
    "pipeline.pill_f1",
    "pipeline.frame_exact",
    "pipeline.single.pill_f1",
    "pipeline.combination.pill_f1",
    "pipeline.ms_per_frame_p50",
    "unknown.auroc",
    "training.total_minutes",
)


def headlines(params: Params) -> Table:
    """The headline metrics."""
    metrics = _metrics(params)
    table = Table(title=f"scale {params.scale}, seed {params.seed}", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name in HEADLINES:
        table.add_row(name, _shown(at(metrics, name)))
    return table


def stale(params: Params) -> str:
    """Why metrics.json is not of the checkpoints on disk, as in a clone; "" when it is."""
    measured, places = _evaluation(params), Places.of(params)
    for name in MODELS:
        path = places.checkpoint(name)
        if not path.is_file():
            return f"{path} is missing."
        if files.sha256_of(path) != at(measured, f"provenance.{name}_sha256"):
            return f"evaluation.json is not of {path}."
    metrics = _metrics(params)
    if any(at(measured, name) != at(metrics, name) for name in HEADLINES):
        return "metrics.json is not of the evaluation in evaluation.json."
    return ""


def compare(params: Params, current: bool) -> tuple[Table, bool]:
    """Goal, value and interval of each target, and whether all are met: none is where the metrics
    are not `current`, of the checkpoints on disk."""
    metrics, whole = _metrics(params), _evaluation(params)
    table = Table(title=f"goals at scale {params.scale}", title_justify="left")
    for name in ("target", "goal", "measured", "met"):
        table.add_column(name)
    targets = at(metrics, "targets") or {}
    met = bool(targets) and current
    for name, target in targets.items():
        met = met and bool(target["met"])
        sign = "<=" if name.endswith("minutes") else ">="
        interval = at(whole, f"targets.{name}.ci")
        shown = "no value" if target["value"] is None else _shown(target["value"])
        if interval:
            shown += f"  [{_shown(interval['low'])}, {_shown(interval['high'])}]"
        answer = "-" if not current else "yes" if target["met"] else "NO"
        table.add_row(name, f"{sign} {target['goal']:g}", shown, answer)
    return table, met


def _metrics(params: Params) -> dict[str, Any]:
    return files.read_json(params.artifacts_dir / "metrics.json", "Measure first: dvc repro")


def _evaluation(params: Params) -> dict[str, Any]:
    """evaluation.json, which DVC has and git does not; empty where it was not fetched."""
    path = params.artifacts_dir / "evaluation.json"
    return files.read_json(path, "dvc checkout --force") if path.is_file() else {}


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
