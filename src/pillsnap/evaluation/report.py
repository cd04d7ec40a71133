"""The evaluation report, one HTML file without outside requests."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pillsnap.evaluation import matching
from pillsnap.stage import page

Json = Mapping[str, Any]

SYNTHETIC = "Synthetic pills: these metrics say nothing about real pills."
NO_DEVICE = "Not a medical device. Every predicted code must be checked by a person."
COVERAGE_FLOOR = 0.5  # accuracy against coverage is drawn from here when it never falls lower
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 300, 220, 44, 34, 18, 10  # of a chart, px
TILES = (  # section, metric, title, goal
    ("classification", "top1", "top-1 on labelled boxes", "classification_top1"),
    ("classification", "top5", "top-5 on labelled boxes", ""),
    ("classification", "macro_f1", "macro F1", ""),
    ("classification", "ece", "calibration error", ""),
    ("detection", "map50", "mAP50 of the boxes", "detection_map50"),
    ("detection", "map50_95", "mAP50-95 of the boxes", ""),
    ("pipeline", "pill_f1", "F1 of detected and classified pills", ""),
    ("pipeline", "pill_f1_unrefused", "F1 if no pill were refused", ""),
    ("pipeline", "frame_exact", "frames without error", ""),
    ("pipeline", "accepted_precision", "precision of accepted pills", ""),
    ("pipeline", "ms_per_frame_p50", "ms per frame (median)", ""),
    ("unknown", "auroc", "AUROC, known vs. unknown", ""),
    ("training", "total_minutes", "minutes of training", "training_minutes"),
)


def render(
    measured: Json,
    plots: Mapping[str, Sequence[Json]],
    classes: pd.DataFrame,
    pictures: Mapping[str, bytes],
    scale: str,
) -> str:
    """The page for evaluation.json, the rows of its plots, the per-class table and JPEG pictures
    ("detections", "confusions", "unknown")."""
    goals = measured["targets"]
    return page.render(
        "evaluation/templates/report.html",
        scale=scale,
        met=sum(bool(goal["met"]) for goal in goals.values()),
        goals=len(goals),
        synthetic=SYNTHETIC if scale == "demo" else "",
        no_device=NO_DEVICE,
        tiles=[_tile(measured, *tile) for tile in TILES],
        pictures=pictures,
        pipeline=_pipeline(measured["pipeline"]),
        unknown=_unknown(measured["unknown"]),
        charts=_charts(plots),
        calibration=_calibration(measured["classification"]),
        split=_facts(measured["split"]),
        conditions=[(title, _condition(rows)) for title, rows in measured["by"].items()],
        classes=_classes(classes),
        facts=_facts(
            measured["provenance"]
            | {f"speed.{name}": value for name, value in measured["speed"].items()}
            | {f"training.{name}": value for name, value in measured["training"].items()}
        ),
    )


def shown(value: Any, interval: Any = None) -> str:
    """A value for people: three digits, its interval behind it, a dash for None."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return f"{text} ({interval})" if interval else text


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Json:
    """A sortable table: numbers, (number, interval) and None are right and sort by value, all else
    by its text."""
    return {"heads": heads, "rows": [[_cell(value) for value in row] for row in rows]}


def chart(
    title: str,
    points: Sequence[tuple[float, float, Any]],
    across: str,
    up: str,
    diagonal: bool = False,
    low: float = 0.0,
) -> Json:
    """A line through points (x, y, note) in 0..1 x low..1, in pixels of its SVG; a note is written
    above its point, `diagonal` adds y = x, and without points there is nothing to draw."""
    ticks = [step / 5 for step in range(6)]
    marks = [(_x(x), _y(y, low), f"{across} {x:.3f}, {up} {y:.3f}", note) for x, y, note in points]
    return {
        "title": title,
        "across": across,
        "up": up,
        "line": " ".join(f"{x},{y}" for x, y, *_ in marks),
        "marks": marks,
        "rows": [(f"{y:.2g}", _y(y, low)) for y in (low + tick * (1 - low) for tick in ticks)],
        "columns": [(f"{tick:.1g}", _x(tick)) for tick in ticks],
        "diagonal": f"{_x(low)},{_y(low, low)} {_x(1)},{_y(1, low)}" if diagonal else "",
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "middle": (HEIGHT - BOTTOM + TOP) / 2,
    }


def _tile(measured: Json, part: str, key: str, title: str, goal: str) -> Json:
    section = measured[part]
    interval = section.get("ci", {}).get(key)
    tile = {"value": shown(section[key]), "title": title, "goal": ""}
    tile["note"] = section.get(f"{key}_reason", str(interval) if interval else "")
    if goal:
        target, sign = measured["targets"][goal], "at most" if "minutes" in goal else "at least"
        verdict = "met" if target["met"] else "missed"
        tile |= {"goal": f"{sign} {target['goal']:g}", "verdict": verdict}
    return tile


def _pipeline(pipeline: Json) -> Json:
    parts = {
        "val, all": pipeline,
        "val, single": pipeline["single"],
        "val, combination": pipeline["combination"],
        "test, combination": pipeline["test"],
        "test, single (unknown)": pipeline["test_single"],
    }
    plain = ("frames", "pills", "pill_precision", "pill_recall", "pill_f1_unrefused")
    rows = [
        [name, *(part[key] for key in plain)]
        + [(part[key], part["ci"][key]) for key in ("pill_f1", "frame_exact")]
        + [part["errors"][kind] for kind in matching.ERRORS]
        for name, part in parts.items()
    ]
    heads = ["frames of", "frames", "pills", "precision", "recall", "F1 without refusal", "F1"]
    errors = [kind.replace("_", " ") for kind in matching.ERRORS]
    return table([*heads, "frames without error", *errors], rows)


def _unknown(part: Json) -> Json:
    stand_ins = [key for key in part["compared"][0] if key.startswith("auroc_")]
    heads = [key.replace("auroc_", "AUROC, ").replace("_", " ") for key in stand_ins]
    rows = [[r["score"], *(r[key] for key in stand_ins), r["kept"]] for r in part["compared"]]
    columns = ("code", "pills", "auroc", "accepted", "taken_for")
    kept = next(row["score"] for row in part["compared"] if row["kept"])
    worst = part["by_code"][0] if part["by_code"] else None
    return {
        **_of_unknown(part),
        "score": kept.replace("_", " "),
        "threshold": f"{part['threshold']:.4f}",
        "known": shown(part["known"]["single"]["accepted"]),
        "chosen_on": part["chosen_on"].replace("_", " "),
        "worst": {**worst, "accepted": shown(worst["accepted"])} if worst else None,
        "by_code": table(
            ["unknown code", "pills", "AUROC", "accepted", "nearest class"],
            [[row[name] for name in columns] for row in part["by_code"]],
        ),
        "compared": table(["score", *heads, "kept"], rows),
        "held_out": _of_unknown(part["held_out"]) if part["held_out"]["pills"] else None,
    }


def _of_unknown(part: Json) -> Json:
    values = {key: shown(part[key], part["ci"][key]) for key in ("auroc", "accepted")}
    return {**values, "pills": shown(part["pills"]), "codes": shown(part["codes"])}


def _charts(plots: Mapping[str, Sequence[Json]]) -> list[Json]:
    pr = [(row["recall"], row["precision"], "") for row in plots["pr_curve"]]
    bins = [(row["confidence"], row["accuracy"], row["pills"]) for row in plots["reliability"]]
    kept = [(row["coverage"], row["accuracy"], "") for row in plots["coverage"]]
    low = COVERAGE_FLOOR if kept and min(y for _, y, _ in kept) >= COVERAGE_FLOOR else 0.0
    across = "share of pills accepted"
    return [
        chart("Detector: precision against recall", pr, "recall", "precision"),
        chart("Calibration (pills in each bin)", bins, "confidence", "accuracy", diagonal=True),
        chart("Accuracy against coverage", kept, across, "accuracy", low=low),
    ]


def _calibration(part: Json) -> str:
    noise = (shown(part["ece_noise"]), shown(part["ece_noise_p95"]))
    return (
        f"Expected calibration error {shown(part['ece'])}; a perfectly calibrated classifier would "
        f"show {noise[0]} on as many independent pills, and at most {noise[1]} in 95 % of sets."
    )


def _condition(rows: Sequence[Json]) -> Json:
    heads = ["value", "pills", "top-1", "found in frames", "right in frames", "pills in frames"]
    cells = [
        [r["value"], r["pills"], (r["top1"], r["ci"]), r["found"], r["right"], r["frame_pills"]]
        for r in rows
    ]
    return table(heads, cells)


def _classes(classes: pd.DataFrame) -> Json:
    columns = {
        "mapping_code": "code",
        "drug_name": "name",
        "pills": "pills",
        "top1": "top-1",
        "precision": "precision",
        "f1": "F1",
        "taken_for": "most frequent confusion",
    }
    return table(list(columns.values()), classes[list(columns)].astype(object).values.tolist())


def _facts(facts: Json) -> Json:
    rows = [[name.replace("_", " "), value] for name, value in facts.items()]
    return table(["item", "value"], rows)


def _cell(value: Any) -> Json:
    value, interval = value if isinstance(value, tuple) else (value, None)
    if isinstance(value, (bool, str, Mapping)):
        return {"text": shown(value) if isinstance(value, bool) else str(value), "number": False}
    sort = "" if value is None or value != value else repr(value)
    return {"text": shown(value, interval), "number": True, "sort": sort}


def _x(value: float) -> float:
    return round(LEFT + value * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, low: float) -> float:
    part = (value - low) / (1 - low)
    return round(HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP), 1)
