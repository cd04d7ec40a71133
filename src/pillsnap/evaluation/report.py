"""The evaluation report, one HTML file without outside requests, and the model card (Markdown)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pillsnap.evaluation import matching
from pillsnap.params import at
from pillsnap.stage import page

Json = Mapping[str, Any]

SYNTHETIC = "Synthetic pills: these metrics say nothing about real pills."
NO_DEVICE = "Not a medical device. Every predicted code must be checked by a person."
COVERAGE_FLOOR = 0.5  # accuracy against coverage is drawn from here when it never falls lower
CARD = {  # the metrics of the model card
    "classification": ("top1", "top5", "macro_f1", "ece"),
    "detection": ("map50", "map50_95"),
    "pipeline": ("pill_precision", "pill_recall", "pill_f1", "pill_f1_unrefused", "frame_exact"),
    "unknown": ("auroc", "fpr_at_95_recall"),
}
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
LIMITS = {  # next to the headlines
    "pills of val and test with a near-duplicate in train": "split.near_duplicate_share",
    "F1, single photos": "pipeline.single.pill_f1",
    "F1, combinations": "pipeline.combination.pill_f1",
    "unknown pills that are accepted": "unknown.accepted",
}


def render(
    measured: Json,
    plots: Mapping[str, Sequence[Json]],
    classes: pd.DataFrame,
    pictures: Mapping[str, bytes],
    scale: str,
) -> str:
    """The page for evaluation.json, the rows of its plots, the per-class table and JPEG pictures
    ("detections", "confusions", "unknown")."""
    unknown, heads = measured["unknown"], ("pills", "AUROC", "accepted", "nearest class")
    return page.render(
        "evaluation/templates/report.html",
        shown=shown,
        scale=scale,
        met=sum(bool(goal["met"]) for goal in measured["targets"].values()),
        goals=len(measured["targets"]),
        synthetic=SYNTHETIC if scale == "demo" else "",
        no_device=NO_DEVICE,
        head=_head(measured),
        tiles=[_tile(measured, *tile) for tile in TILES],
        limits=[(name, shown(at(measured, key))) for name, key in LIMITS.items()],
        pictures=pictures,
        pipeline=_pipeline(measured["pipeline"], measured["new_conditions"]["pipeline"]),
        new=measured["new_conditions"],
        unknown=unknown,
        sets=measured["sets"],
        by_code=table(["unknown code", *heads], [list(row.values()) for row in unknown["by_code"]]),
        compared=_compared(unknown["compared"]),
        points=_points(measured["operating_points"]),
        imprint=_imprint(measured.get("imprint")),
        charts=_charts(plots),
        classification=measured["classification"],
        split=_facts(measured["split"]),
        conditions=[(title, _condition(rows)) for title, rows in measured["by"].items()],
        classes=_classes(classes),
        facts=_facts(
            measured["provenance"]
            | {f"speed.{name}": value for name, value in measured["speed"].items()}
            | {f"training.{name}": value for name, value in measured["training"].items()}
        ),
    )


def model_card(measured: Json, classes: pd.DataFrame, scale: str) -> str:
    """The card next to the checkpoints: data, split, metrics, limits."""
    accepted = [row["accepted"] for row in measured["unknown"]["by_code"]]
    return page.render(
        "evaluation/templates/model_card.md",
        shown=shown,
        measured=measured,
        new=measured["new_conditions"],
        metrics=CARD,
        scale=scale,
        synthetic=SYNTHETIC if scale == "demo" else "",
        no_device=NO_DEVICE,
        classes=len(classes),
        train_pills=int(classes["train_pills"].sum()),
        val_pills=int(classes["val_pills"].sum()),
        fingerprint=(measured["provenance"]["data_fingerprint"] or {}).get(
            "sha256", "not recorded"
        ),
        best=min(accepted, default=None),
        worst=max(accepted, default=None),
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


def _head(measured: Json) -> list[tuple[str, str]]:
    """What was measured, when: date, revision, models, data, seed."""
    origin, models = measured["provenance"], measured["models"]
    data = (origin.get("data_fingerprint") or {}).get("sha256")
    values = {
        "date": origin.get("date"),
        "revision": (origin.get("git_revision") or "")[:12],
        "models": " + ".join(str(model["architecture"]) for model in models.values()),
        "data": data and data[:12],
        "seed": origin.get("seed"),
    }
    return [(name, str(value or shown(None))) for name, value in values.items()]


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


def _pipeline(pipeline: Json, new_conditions: Json) -> Json:
    parts = {
        "val, all": pipeline,
        "val, single": pipeline["single"],
        "val, combination": pipeline["combination"],
        "test, combination": pipeline["test"],
        "test, single (unknown)": pipeline["test_single"],
        "test, new light or background": new_conditions,
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


def _compared(rows: Sequence[Json]) -> Json:
    """AUROC of every refusal score against val's unknown pills."""
    cells = [[row["score"], row["auroc_val_unknown"], row["kept"]] for row in rows]
    return table(["score", "AUROC", "kept"], cells)


def _points(rows: Sequence[Json]) -> Json:
    """What each threshold that can be chosen at use costs and gains."""
    keys = ("known_accepted", "val_single_accepted", "unknown_accepted")
    heads = ["known recall", "threshold", "test, known", "val, known single", "test, unknown"]
    cells = [
        [row["known_recall"], row["threshold"], *((row[key], row["ci"][key]) for key in keys)]
        for row in rows
        if row["threshold"] is not None
    ]
    return table(heads, cells)


def _imprint(section: Json | None) -> Json | None:
    """What the imprints add; None where none were read."""
    if section is None:
        return None
    with_text = ("top1", "top1_with_imprint")
    rows = [
        [f"top-1, {split}", *((part[key], part["ci"].get(key)) for key in with_text), part["pills"]]
        for split, part in ((split, section[split]) for split in ("val", "test"))
    ]
    shares = ("accepted", "accepted_and_not_contradicted", "pills")
    rows += [
        [f"{kind} pills accepted", *(section[kind][key] for key in shares)]
        for kind in ("known", "unknown")
    ]
    return table(["share", "classifier", "with the imprint", "pills"], rows)


def _charts(plots: Mapping[str, Sequence[Json]]) -> list[Json]:
    """Title, x axis, y axis, where the y axis begins, points (x, y, note)."""
    pr = [(row["recall"], row["precision"], "") for row in plots["pr_curve"]]
    bins = [(row["confidence"], row["accuracy"], row["pills"]) for row in plots["reliability"]]
    kept = [(row["coverage"], row["accuracy"], "") for row in plots["coverage"]]
    low = COVERAGE_FLOOR if kept and min(y for _, y, _ in kept) >= COVERAGE_FLOOR else 0.0
    charts = (
        ("Detector: precision against recall", "recall", "precision", 0.0, pr),
        ("Calibration (pills in each bin)", "confidence", "accuracy", 0.0, bins),
        ("Accuracy against coverage", "share of pills accepted", "accuracy", low, kept),
    )
    names = ("title", "across", "up", "low", "points")
    return [dict(zip(names, chart, strict=True)) for chart in charts]


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
