"""Whether stage 4 can be started: goals, checkpoints, data and disk, and how long its stages take
at the rates that the run of this scale measured (null where it measured none)."""

from pathlib import Path

import orjson

from pillsnap import files
from pillsnap.errors import UserError
from pillsnap.files import Json
from pillsnap.operation import check_machine
from pillsnap.operation.point import Point, duration, failed, passed, warned
from pillsnap.params import Params
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.training import checkpoints

NEXT = "stage4"
SAME = {  # keys of a scale on which the speed of a training depends
    "detection": ("detector", "detection_px", "frame_px"),
    "classification": ("classifier", "image_px", "crop_px"),
}
PICTURES = {
    "detection": check_machine.training_frames,
    "classification": check_machine.training_crops,
}
MEASURE = "Measure at a scale with these sizes: dvc exp run -S scale=stage1"


def points(params: Params, current: bool) -> list[Point]:
    """A point each for goals, checkpoints, data, disk and the time of every long stage; `current`:
    whether the metrics are of the checkpoints on disk."""
    if NEXT not in params.scales:
        return [warned("readiness", f"null: params.yaml has no scale {NEXT}", "Restore it.")]
    places, there = Places.of(params), params.model_copy(update={"scale": NEXT})
    metrics, sampling = _read(places.artifacts_dir / "metrics.json"), _read(places.sampling)
    return [
        goals(metrics.get("targets", {}) if current else {}),
        verified(places),
        data(sampling.get("on_disk", {}), there),
        *check_machine.disk(there, Path()),
        validation(places, there),
        *(training(name, params, there) for name in MODELS),
    ]


def goals(targets: Json) -> Point:
    """Whether every goal of the measured scale is met."""
    missed = [name for name, goal in targets.items() if not goal["met"]]
    value = f"{len(targets) - len(missed)} of {len(targets)} met"
    if targets and not missed:
        return passed("goals", value)
    return failed(
        "goals",
        f"{value}: {', '.join(missed) or 'nothing measured on these checkpoints'}",
        "See above.",
    )


def verified(places: Places) -> Point:
    """The checkpoints load, fit their hashes, and the calibration belongs to them."""
    try:
        for name in MODELS:
            checkpoints.load_published(places.checkpoint(name))
        sha256 = files.sha256_of(places.checkpoint("classification"))
        calibration.load(places.calibration, sha256)
    except UserError as error:
        return failed("checkpoints", error.fact, error.cure)
    return passed("checkpoints", "both models and the calibration are whole")


def data(on_disk: Json, there: Params) -> Point:
    """The tree that was measured holds what stage 4 asks for; `on_disk` is of sampling.json."""
    codes = on_disk.get("codes_with_single_photos_in_train")
    if codes is None:
        return warned("data", "null: sampling.json does not count them", "dvc repro build_manifest")
    by_folder, scale = on_disk["files"], there.at_scale
    combined = scale.samples * scale.combination_share
    classes = scale.classes + there.build_manifest.left_out_classes
    counts = (  # on disk, asked for
        (codes, classes, "codes with single photos"),
        (by_folder.get("train/images/single", 0), scale.samples - combined, "single photos"),
        (by_folder.get("train/labels/combination", 0), combined, "pills in combinations"),
    )
    value = ", ".join(f"{found:,} of {asked:,.0f} {name}" for found, asked, name in counts)
    cure = f"Bring more data, or lower scales.{NEXT}.classes or .samples."
    short = any(found < asked for found, asked, _ in counts)
    return failed("data", value, cure) if short else passed("data", value)


def validation(places: Places, there: Params) -> Point:
    """The time of validate, by the newest run that read photos."""
    runs: dict[str, list[tuple[float, int]]] = {}
    path = places.artifacts_dir / "live" / "events.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        if b'"stage":"validate"' in line and b'"kind":"progress"' in line and line.endswith(b"}"):
            event = orjson.loads(line)
            runs.setdefault(event["run"], []).append((event["time"], event["step"]))
    for marks in reversed(runs.values()):
        (begun_s, first), (ended_s, last) = marks[0], marks[-1]
        if last > first and ended_s > begun_s:
            rate = (last - first) / (ended_s - begun_s)
            return _minutes("validate", check_machine.photos(there), rate, "photos")
    return warned("validate", "null: no run of validate in events.jsonl read photos", MEASURE)


def training(model: str, here: Params, there: Params) -> Point:
    """The time of a training, its validation included."""
    name = f"train {model}"
    ours, theirs = here.at_scale, there.at_scale
    differ = [key for key in SAME[model] if getattr(ours, key) != getattr(theirs, key)]
    if differ:
        return warned(name, f"null: {', '.join(differ)} differ from {NEXT}'s", MEASURE)
    summary = _read(here.artifacts_dir / "live" / model / "summary.json")
    if not summary.get("minutes"):
        return warned(name, "null: no whole training here", MEASURE)
    rate = PICTURES[model](here) * summary["epochs"] / (summary["minutes"] * 60)
    return _minutes(name, PICTURES[model](there) * there.train.epochs, rate, "pictures")


def _minutes(name: str, count: float, per_s: float, unit: str) -> Point:
    value = f"{count:,.0f} {unit} at {per_s:,.1f} a second, as measured here"
    return passed(name, f"{duration(count / per_s / 60)}: {value}")


def _read(path: Path) -> Json:
    return files.read_json(path, "Write it anew: dvc repro") if path.exists() else {}
