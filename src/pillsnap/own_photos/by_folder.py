"""`pillsnap evaluate-folder`: metrics of a user's own photos, and their difference to the data
set's. The photos are in a folder per K-code, one pill each, or have labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pillsnap import params
from pillsnap.dataset import names
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError, UserError
from pillsnap.evaluation import intervals
from pillsnap.own_photos import by_label, gap
from pillsnap.own_photos.gap import shown
from pillsnap.prediction import load, pictures, predict
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.prediction.predict import Tally
from pillsnap.recognition.recogniser import Pill

Json = dict[str, Any]

TOP = 5
OUTCOMES = ("right", "wrong_name", "known_refused", "unknown_named", "no_pill", "several_pills")


@dataclass(frozen=True)
class Photo:
    """A photo of one pill, and the code of its folder."""

    path: Path
    code: str


def photos_in(folder: Path) -> list[Photo]:
    """All pictures in folders with a K-code as name, sorted; DataError if there is none."""
    below = [(path, path.relative_to(folder).parts) for path in pictures.in_folder(folder)]
    found = [
        Photo(path, parts[0])
        for path, parts in below
        if len(parts) > 1 and names.CODE.fullmatch(parts[0])
    ]
    if not found:
        raise DataError(
            f"{folder} holds neither a folder like K-012345 with pictures in it nor labels.",
            "Put the photos of each drug into a folder named by its K-code, or AI Hub labels "
            "(photo.json next to photo.png, or a tree as in data/README.md) with them.",
        )
    return found


def evaluate(loaded: Loaded, photos: Sequence[Photo]) -> Json:
    """Metrics of the photos: counts of each outcome, in total and by code."""
    paths = [photo.path for photo in photos]
    answers = predict.recognise(loaded, paths, TOP, None, None, Tally())
    classes = set(loaded.recogniser.classes["mapping_code"])
    rows = [
        (photo, answer, outcome(photo.code, answer.pills, photo.code in classes))
        for photo, answer in zip(photos, answers, strict=True)
    ]
    read = [row for row in rows if row[1].error is None]
    known = [row for row in read if row[0].code in classes]
    exact = np.array([what == "right" for _, _, what in known], dtype=np.float64)
    codes = [photo.code for photo, _, _ in known]
    return {
        "photos": len(photos),
        "refused": [_refused(answer) for _, answer, _ in rows if answer.error is not None],
        "known": {
            "photos": len(known),
            "codes": len({photo.code for photo, _, _ in known}),
            "frame_exact": float(exact.mean()) if len(exact) else None,
            "frame_exact_ci": intervals.ratio(exact, np.ones(len(exact)), codes),
            "top5": _top5(known),
        },
        "unknown": _unknown([row for row in read if row[0].code not in classes]),
        "outcomes": {name: sum(what == name for _, _, what in read) for name in OUTCOMES},
        "by_code": _by_code(read),
    }


def outcome(code: str, pills: Sequence[Pill], known: bool) -> str:
    """Outcome of a photo of one pill of `code`; an unknown drug is right when it is refused."""
    if len(pills) != 1:
        return "several_pills" if pills else "no_pill"
    named = pills[0].code
    if named is None:
        return "known_refused" if known else "right"
    if not known:
        return "unknown_named"
    return "right" if named == code else "wrong_name"


def _refused(answer: Answer) -> Json:
    assert isinstance(answer.error, UserError)
    return {"path": answer.path, "fact": answer.error.fact}


def _top5(rows: Sequence[tuple[Photo, Answer, str]]) -> float | None:
    if not rows:
        return None
    hits = [
        photo.code in [candidate.code for candidate in answer.pills[0].candidates]
        for photo, answer, _ in rows
        if answer.pills
    ]
    return sum(hits) / len(rows)


def _unknown(rows: Sequence[tuple[Photo, Answer, str]]) -> Json:
    named = sum(what == "unknown_named" for _, _, what in rows)
    exact = sum(what == "right" for _, _, what in rows)
    return {
        "photos": len(rows),
        "frame_exact": exact / len(rows) if rows else None,
        "named": named / len(rows) if rows else None,
    }


def _by_code(rows: Sequence[tuple[Photo, Answer, str]]) -> list[Json]:
    codes = sorted({photo.code for photo, _, _ in rows})
    return [
        {
            "code": code,
            "photos": sum(photo.code == code for photo, _, _ in rows),
            "right": sum(photo.code == code and what == "right" for photo, _, what in rows),
        }
        for code in codes
    ]


def render(metrics: Json) -> list[str]:
    """The metrics of photos by folder, and the worst codes."""
    known, unknown = metrics["known"], metrics["unknown"]
    interval = known["frame_exact_ci"]
    between = f" ({interval})" if interval else ""
    worst = sorted(metrics["by_code"], key=lambda row: (row["right"] / row["photos"], row["code"]))
    return [
        f"{metrics['photos']} photos",
        f"known drugs: {known['photos']} photos of {known['codes']} codes, "
        f"exact {shown(known['frame_exact'])}{between}, top-5 {shown(known['top5'])}",
        f"unknown drugs: {unknown['photos']} photos, given a code anyway {shown(unknown['named'])}",
        "outcomes: " + ", ".join(f"{name} {n}" for name, n in metrics["outcomes"].items()),
        *(f"  {row['code']}  {row['right']}/{row['photos']} right" for row in worst[:TOP]),
    ]


def run(folder: Path, device: str, backend: str, model: Path | None) -> str:
    """Evaluate a folder of either kind; the text to print."""
    project = params.load()
    folder = predict.folder(folder)
    left_out = Findings()
    labelled = by_label.read(folder, left_out)
    labels = bool(labelled or left_out.counts)
    photos = [] if labels else photos_in(folder)
    loaded = load.load(backend, model, device)
    if labels:
        own = by_label.evaluate(loaded, labelled, left_out, project.evaluate)
        lines = by_label.render(own)
    else:
        metrics = evaluate(loaded, photos)
        left_out.add_all("photo_unusable", (one["fact"] for one in metrics["refused"]))
        own, lines = kinds(metrics), render(metrics)
    why = [
        f"left out, {name}: {count}, first {left_out.examples[name][0]}"
        for name, count in left_out.counts.items()
    ]
    if not own:
        fact = "\n".join([f"{folder} holds no photo that can be used.", *why])
        raise DataError(fact, "Fix what is listed, or name another folder.")
    evaluation_path = project.artifacts_dir.with_name(loaded.scale) / "evaluation.json"
    own_sha256 = loaded.recogniser.calibration.classification_sha256
    gaps = gap.render(gap.compare(own, evaluation_path, own_sha256))
    return "\n".join([*lines, *why, *gaps])


def kinds(metrics: Json) -> dict[str, Json]:
    """The metrics by kind of photo, without kinds that have no photo."""
    parts = {"single": metrics["known"], "unknown": metrics["unknown"]}
    return {name: part for name, part in parts.items() if part["photos"]}
