"""Errors by class, by pair of classes and by photo condition; near-duplicates between splits."""

from typing import Any

import numpy as np
import pandas as pd

from pillsnap import boxes
from pillsnap.arrays import Floats, Ints
from pillsnap.dataset.names import MEANINGS
from pillsnap.evaluation import intervals, metrics
from pillsnap.evaluation.answers import CropAnswers, FrameSet
from pillsnap.evaluation.sections import explained
from pillsnap.files import Json

CONDITIONS = {  # columns and their headings
    "image_type": "frame",
    "light": "light",
    "back": "background",
    "direction": "side",
    "latitude": "latitude",
    "drug_shape": "shape",
    "color_class1": "colour",
}


def per_class(truth: Ints, predicted: Ints, classes: pd.DataFrame) -> pd.DataFrame:
    """A row per class: pills, predictions, top1, precision, F1 and the most frequent confusion."""
    table = classes[["class_index", "mapping_code", "drug_name"]].copy()
    counted = {"pills": truth, "predicted": predicted, "right": truth[truth == predicted]}
    for name, indices in counted.items():
        table[name] = np.bincount(indices, minlength=len(classes))
    pills, given, right = (table[name] for name in counted)
    table["top1"], table["precision"] = right / pills, right / given
    table["f1"] = (2 * right / (pills + given)).where(pills > 0)
    first = confusions(truth, predicted, np.zeros(len(truth))).drop_duplicates("true")
    table["taken_for"] = ""
    table.loc[first["true"], "taken_for"] = classes["mapping_code"].to_numpy()[first["predicted"]]
    return table


def worst(table: pd.DataFrame, rows: int) -> list[dict[Any, Any]]:
    """The classes of the lowest F1, worst first; without those that have no pill or no error."""
    seen = table[table["f1"] < 1].sort_values(["f1", "class_index"], kind="stable")
    named = seen.assign(**{"class": seen["mapping_code"] + " " + seen["drug_name"]})
    return named[["class", "f1", "top1", "pills"]].head(rows).to_dict("records")


def confusions(truth: Ints, predicted: Ints, confidence: Floats) -> pd.DataFrame:
    """Confused pairs, the most frequent first: columns true, predicted, pills, and row, that of
    the pill with the highest confidence."""
    pills = pd.DataFrame({"true": truth, "predicted": predicted, "confidence": confidence})
    wrong = pills[truth != predicted].sort_values("confidence", ascending=False, kind="stable")
    wrong = wrong.rename_axis("row").reset_index()
    groups = wrong.groupby(["true", "predicted"])["row"]
    pairs: pd.DataFrame = groups.agg(pills="size", row="first")
    return pairs.sort_values("pills", ascending=False, kind="stable").reset_index()


def outcomes(val: CropAnswers, frames: FrameSet, classes: pd.DataFrame) -> pd.DataFrame:
    """val's crop table with the outcome of each pill: `top1` (known ones), `found` and `right`
    (those of measured frames), else NaN; with the shape and colour of its class."""
    table = val.table.copy()
    known, right = val.known(), np.full(len(val), np.nan)
    right[table["known"].to_numpy(dtype=bool)] = metrics.ranks(known.logits, known.truth) == 0
    table["top1"] = right
    key = ["image_path", "box_x", "box_y", "box_w", "box_h", "class_index"]
    found = _outcomes(frames).drop_duplicates(key)
    table = table.merge(found, on=key, how="left", validate="many_to_one")
    facts = classes[["mapping_code", "drug_shape", "color_class1"]]
    return table.merge(facts, on="mapping_code", how="left", validate="many_to_one")


def by_condition(pills: pd.DataFrame) -> dict[str, list[Json]]:
    """For each condition the rows value, pills, top1 (with its interval), found, right."""
    return {
        title: [
            _condition_row(f"{value} {MEANINGS.get(column, {}).get(value, '')}".rstrip(), part)
            for value, part in pills.groupby(column, sort=True)
        ]
        for column, title in CONDITIONS.items()
    }


def split_overlap(validation: Json) -> Json:
    """How optimistic the split makes the metrics, by the checks of validation.json.

    near_duplicate_share: share of the pills of val and test that nearly equal a train pill of
    their code. Photos of val and test that equal one of train are refused, and a capture group in
    two splits stops validate.
    """
    counts = {check["name"]: check["count"] for check in validation.get("checks", ())}
    admitted = validation.get("admitted", {})
    pills = sum(admitted.get(split, 0) for split in ("val", "test"))
    near = counts.get("near_duplicates_across_splits")
    values = {
        "near_duplicate_share": None if near is None else metrics.ratio(near, pills),
        "near_duplicates": near,
        "exact_duplicates_refused": counts.get("duplicates_across_splits"),
        "torn_groups": counts.get("group_leakage"),
    }
    return {**explained(values, "no validation.json, or no pill in val and test"), "pills": pills}


def _condition_row(value: str, part: pd.DataFrame) -> Json:
    known = part[part["top1"].notna()]
    seen = part[part["found"].notna()]
    right = known["top1"].to_numpy(dtype=np.float64)
    return {
        "value": value,
        "pills": len(known),
        "top1": metrics.mean(right),
        "ci": intervals.ratio(right, np.ones(len(right)), known["group_id"].to_numpy()),
        "frame_pills": len(seen),
        "found": metrics.mean(seen["found"].to_numpy(dtype=np.float64)),
        "right": metrics.mean(seen["right"].to_numpy(dtype=np.float64)),
    }


def _outcomes(frames: FrameSet) -> pd.DataFrame:
    rows = [
        (frame.image_path, *box, index, outcome != "missed", outcome == "right")
        for frame in frames.frames
        for box, index, outcome in zip(
            boxes.to_xywh(np.rint(frame.labelled)).tolist(),
            frame.labelled_class.tolist(),
            frame.match.labelled,
            strict=True,
        )
    ]
    columns = ["image_path", "box_x", "box_y", "box_w", "box_h", "class_index", "found", "right"]
    types = dict.fromkeys(columns[1:6], "int64") | {"found": "float64", "right": "float64"}
    return pd.DataFrame(rows, columns=columns).astype({"image_path": "str", **types})
