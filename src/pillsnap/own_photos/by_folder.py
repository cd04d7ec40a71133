"""`pillsnap evaluate-folder`: metrics of photos in a folder per K-code, or with labels."""

from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap import params
from pillsnap.dataset import names, pictures
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError
from pillsnap.evaluation import intervals, metrics
from pillsnap.files import Json
from pillsnap.formats.listing import PARTS
from pillsnap.imprint import compare
from pillsnap.imprint.reader import INSTALL
from pillsnap.own_photos import by_label, gap
from pillsnap.own_photos.gap import shown
from pillsnap.prediction import load, predict
from pillsnap.prediction.load import Loaded
from pillsnap.recognition.recogniser import Pill

TOP = 5
OUTCOMES = ("right", "wrong_name", "known_refused", "unknown_named", "no_pill", "several_pills")


def photos_in(folder: Path, classes: Container[str] = ()) -> list[tuple[Path, str]]:
    """Pictures in folders named by a K-code or, if one is that of a class, by a drug; sorted, each
    with the code; DataError if there is none."""
    below = [(path, path.relative_to(folder).parts[:-1]) for path in pictures.in_folder(folder)]
    coded = [(path, next(filter(names.CODE.fullmatch, outer), "")) for path, outer in below]
    inner = [[name for name in outer if name.lower() not in PARTS] for _, outer in below]
    drugs = [names.code_of(outer[0]) if outer else "" for outer in inner]
    if any(drug in classes and not names.CODE.fullmatch(drug) for drug in drugs):
        coded = [(path, code or drug) for (path, code), drug in zip(coded, drugs, strict=True)]
    found = [(path, code) for path, code in coded if code]
    if not found:
        raise DataError(
            f"{folder} holds neither a folder like K-012345 with pictures in it nor labels.",
            "Put the photos of each drug into a folder named by its code in classes.csv, or labels "
            "with them: AI Hub's (data/README.md), YOLO's or COCO's (docs/own-photos.md).",
        )
    return found


def evaluate(loaded: Loaded, photos: Sequence[tuple[Path, str]]) -> Json:
    """Metrics of the photos: counts of each outcome, in total and by code."""
    classes = set(loaded.recogniser.classes["mapping_code"])
    refused, rows = [], []
    answers = predict.recognise(loaded, [path for path, _ in photos], TOP)
    for (_, code), answer in zip(photos, answers, strict=True):
        if answer.error is not None:
            refused.append({"path": answer.path, "fact": answer.error.fact})
            continue
        first = answer.pills[0].candidates if answer.pills else ()
        hit = code in [candidate.code for candidate in first]
        rows.append((code, code in classes, hit, outcome(code, answer.pills, code in classes)))
    table = pd.DataFrame(rows, columns=["code", "known", "top5", "outcome"])
    of = {known: table[table["known"] == known] for known in (True, False)}
    exact = (of[True]["outcome"] == "right").to_numpy(np.float64)
    return {
        "photos": len(photos),
        "refused": refused,
        "known": {
            "photos": len(exact),
            "codes": of[True]["code"].nunique(),
            "frame_exact": metrics.mean(exact),
            "frame_exact_ci": intervals.ratio(exact, np.ones(len(exact)), list(of[True]["code"])),
            "top5": metrics.mean(of[True]["top5"].to_numpy()),
        },
        "unknown": {
            "photos": len(of[False]),
            "frame_exact": metrics.mean((of[False]["outcome"] == "right").to_numpy()),
            "named": metrics.mean((of[False]["outcome"] == "unknown_named").to_numpy()),
        },
        "outcomes": {name: int((table["outcome"] == name).sum()) for name in OUTCOMES},
        "by_code": [
            {"code": code, "photos": len(own), "right": int((own == "right").sum())}
            for code, own in table.groupby("code")["outcome"]
        ],
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


def render(measured: Json) -> list[str]:
    """The metrics of photos by folder, and the worst codes."""
    known, unknown = measured["known"], measured["unknown"]
    interval = known["frame_exact_ci"]
    between = f" ({interval})" if interval else ""
    worst = sorted(measured["by_code"], key=lambda row: (row["right"] / row["photos"], row["code"]))
    return [
        f"{measured['photos']} photos",
        f"known drugs: {known['photos']} photos of {known['codes']} codes, "
        f"exact {shown(known['frame_exact'])}{between}, top-5 {shown(known['top5'])}",
        f"unknown drugs: {unknown['photos']} photos, given a code anyway {shown(unknown['named'])}",
        "outcomes: " + ", ".join(f"{name} {n}" for name, n in measured["outcomes"].items()),
        *(f"  {row['code']}  {row['right']}/{row['photos']} right" for row in worst[:TOP]),
    ]


def imprint_lines(loaded: Loaded, photos: Sequence[tuple[Path, str]]) -> list[str]:
    """How often the imprint that is read is that of the photo's drug; drugs that it contradicts."""
    if loaded.imprints is None:
        return [f"imprints were not read; to compare them with the drugs: {INSTALL}"]
    rows = loaded.recogniser.classes.set_index("mapping_code")
    found: dict[str, Counter[str]] = defaultdict(Counter)
    answers = predict.recognise(loaded, [path for path, _ in photos], TOP)
    for (_, code), answer in zip(photos, answers, strict=True):
        read = answer.pills[0].imprint if len(answer.pills) == 1 else None
        if read is not None and code in rows.index:
            sides = rows.loc[code, ["print_front", "print_back"]]
            found[code][compare.verdict(read.text, *sides)] += 1
    total = sum(found.values(), Counter())
    worst = sorted(
        found, key=lambda code: (-found[code]["contradicts"] / found[code].total(), code)
    )
    return [
        f"imprints of {total.total()} photos: {total['agrees']} agree with their drug, "
        f"{total['contradicts']} contradict it",
        *(
            f"  {code}  {found[code]['agrees']} agree, {found[code]['contradicts']} contradict"
            for code in worst[:TOP]
            if found[code]["contradicts"]
        ),
    ]


def run(folder: Path, device: str, backend: str, model: Path | None) -> str:
    """Evaluate a folder of either kind; the text to print."""
    project = params.load()
    left_out = Findings()
    labelled = by_label.read(folder, left_out)
    labels = bool(labelled or left_out.counts)
    with_imprints = load.load(backend, model, device, imprint=None)
    loaded = replace(with_imprints, imprints=None)  # evaluation.json is of the classifier alone
    known = set(loaded.recogniser.classes["mapping_code"])
    photos = [] if labels else photos_in(folder, known)
    if labels:
        own = by_label.evaluate(loaded, labelled, left_out, project.evaluate)
        lines = by_label.render(own)
    else:
        measured = evaluate(loaded, photos)
        left_out.add_all("photo_unusable", (one["fact"] for one in measured["refused"]))
        parts = {"single": measured["known"], "unknown": measured["unknown"]}
        own = {kind: part for kind, part in parts.items() if part["photos"]}
        refused = {one["path"] for one in measured["refused"]}
        readable = [(path, code) for path, code in photos if str(path) not in refused]
        lines = [*render(measured), *imprint_lines(with_imprints, readable)]
    why = [
        f"left out, {name}: {count}, first {left_out.examples[name][0]}"
        for name, count in left_out.counts.items()
    ]
    if not own:
        fact = "\n".join([f"{folder} holds no photo that can be used.", *why])
        raise DataError(fact, "Fix what is listed, or name another folder.")
    evaluation_path = project.artifacts_dir.with_name(loaded.scale) / "evaluation.json"
    own_sha256 = loaded.recogniser.calibration.classification_sha256
    gaps = gap.lines(own, evaluation_path, own_sha256)
    return "\n".join([*lines, *why, *gaps])
