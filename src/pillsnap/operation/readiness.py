"""Whether stage 4 can be started: goals, checkpoints and data, and what it will take in disk and
time by the rates that this scale's run measured. What was not measured is said to be null."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from pillsnap import files
from pillsnap.errors import UserError
from pillsnap.files import Json
from pillsnap.operation.point import Point, failed, gb, passed, warned
from pillsnap.params import Params, ScaleParams
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.training import checkpoints

Rate = tuple[float | None, str]  # the figure, or None and why there is none

NEXT = "stage4"
COPIES = 2  # DVC's cache keeps a copy of every out where the file system shares no blocks


@dataclass(frozen=True)
class Evidence:
    """What the run at the measured scale left."""

    params: Params
    places: Places
    metrics: Json
    sampling: Json
    validation: Json

    @property
    def here(self) -> ScaleParams:
        """The numbers of the measured scale."""
        return self.params.at_scale

    @property
    def there(self) -> ScaleParams:
        """The numbers of stage 4."""
        return self.params.scales[NEXT]


def points(params: Params) -> list[Point]:
    """A point each for goals, checkpoints, data, disk and the time of every long stage."""
    if NEXT not in params.scales:
        return [warned("readiness", f"null: params.yaml has no scale {NEXT}", "Restore it.")]
    places = Places.of(params)
    found = Evidence(
        params,
        places,
        _read(places.artifacts_dir / "metrics.json"),
        _read(places.sampling),
        _read(places.validation),
    )
    checks: tuple[Callable[[Evidence], Point], ...] = (goals, verified, data, disk)
    return [check(found) for check in checks] + [
        _minutes("validate", _photos(found), photos_per_s(places), "photos"),
        *(_minutes(f"train {name}", *_training(found, name), "pictures") for name in MODELS),
    ]


def goals(found: Evidence) -> Point:
    """Every goal of the measured scale is met."""
    targets = found.metrics.get("targets", {})
    missed = [name for name, goal in targets.items() if not goal["met"]]
    value = f"{len(targets) - len(missed)} of {len(targets)} met"
    if targets and not missed:
        return passed("goals", value)
    return failed("goals", f"{value}: {', '.join(missed) or 'nothing measured'}", "See above.")


def verified(found: Evidence) -> Point:
    """The checkpoints load, fit their hashes, and the calibration belongs to them."""
    try:
        for name in MODELS:
            checkpoints.load_published(found.places.checkpoint(name))
        sha256 = files.sha256_of(found.places.checkpoint("classification"))
        calibration.load(found.places.calibration, sha256)
    except UserError as error:
        return failed("checkpoints", error.fact, error.cure)
    return passed("checkpoints", "both models and the calibration are whole")


def data(found: Evidence) -> Point:
    """The tree that was measured holds what stage 4 asks for."""
    disk = found.sampling.get("on_disk", {})
    by_folder, scale = disk.get("files", {}), found.there
    counts = {
        "codes with single photos": disk.get("codes_with_single_photos_in_train"),
        "single photos": by_folder.get("train/images/single", 0),
        "pills in combinations": by_folder.get("train/labels/combination", 0),
    }
    combined = scale.samples * scale.combination_share
    out = found.params.build_manifest.left_out_classes
    asked = (scale.classes + out, scale.samples - combined, combined)
    wanted = dict(zip(counts, asked, strict=True))
    if not disk or counts["codes with single photos"] is None:
        return warned("data", "null: sampling.json does not count them", "dvc repro build_manifest")
    short = [name for name, count in counts.items() if count < wanted[name]]
    value = ", ".join(f"{counts[name]:,} of {wanted[name]:,.0f} {name}" for name in counts)
    cure = f"Bring more data, or lower scales.{NEXT}.classes or .samples."
    return failed("data", value, cure) if short else passed("data", value)


def disk(found: Evidence) -> Point:
    """Free disk against crops and frames of stage 4, by the bytes that were measured."""
    free = shutil.disk_usage(Path()).free
    parts = {"crops": crop_bytes(found), "frames": frame_bytes(found)}
    missing = [f"{name}: {why}" for name, (value, why) in parts.items() if value is None]
    if missing:
        return warned("disk", f"{gb(free)} free; needed: null, {'; '.join(missing)}", _MEASURE)
    needed = COPIES * sum(value or 0.0 for value, _ in parts.values())
    value = f"{gb(free)} free; crops, frames and DVC's copy of them: {gb(needed)}"
    cure = "Free the disk, or move the repository and its DVC cache to a larger one."
    return passed("disk", value) if free > needed else failed("disk", value, cure)


def crop_bytes(found: Evidence) -> Rate:
    """Bytes of stage 4's crops, by the mean size of those that are there."""
    paths = sorted((found.places.data_dir / "crops").glob("*.arrow"))
    crops = found.validation.get("pictures", {}).get("crops", 0)
    if found.here.crop_px != found.there.crop_px:
        return None, f"crops here have {found.here.crop_px} px, there {found.there.crop_px}"
    if not paths or not crops:
        return None, "no crops here"
    each = sum(path.stat().st_size for path in paths) / crops
    return each * (found.there.samples + found.there.test_unknown_pills), ""


def frame_bytes(found: Evidence) -> Rate:
    """Bytes of stage 4's frames for the detector and for the end-to-end figures, at most."""
    pictures, scale = found.validation.get("pictures", {}), found.there
    scaled = sorted((found.places.data_dir / "detection" / "images").glob("*/*.jpg"))
    full = sorted((found.places.data_dir / "frames").glob("*.arrow"))
    combinations = _combination_frames(found)
    if found.here.frame_px != scale.frame_px:
        return None, f"frames here have {found.here.frame_px} px, there {scale.frame_px}"
    if not scaled or not full or not pictures.get("evaluation_frames") or combinations is None:
        return None, "no frames here"
    singles = scale.detection_single_frames / (1 - scale.val_share)
    small = _mean_bytes(scaled) * (combinations + singles)
    large = sum(file.stat().st_size for file in full) / pictures["evaluation_frames"]
    return small + large * 4 * scale.evaluation_frames, ""  # singles, combinations; val, test


def photos_per_s(places: Places) -> Rate:
    """Photos read and cut a second in the newest run of validate that read any."""
    runs: dict[str, list[tuple[float, int]]] = {}
    path = places.artifacts_dir / "live" / "events.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        if b'"stage":"validate"' in line and b'"kind":"progress"' in line and line.endswith(b"}"):
            event = orjson.loads(line)
            runs.setdefault(event["run"], []).append((event["time"], event["step"]))
    for marks in reversed(list(runs.values())):
        (begun_s, first), (ended_s, last) = marks[0], marks[-1]
        if last > first and ended_s > begun_s:
            return (last - first) / (ended_s - begun_s), ""
    return None, "no run of validate in events.jsonl read photos"


def _training(found: Evidence, name: str) -> tuple[float | None, Rate]:
    """Pictures of stage 4's training and pictures a second of this one, validation included."""
    here, there = found.here, found.there
    keys = {"detection": ("detector", "detection_px", "frame_px"),
            "classification": ("classifier", "image_px", "crop_px")}[name]  # fmt: skip
    differ = [key for key in keys if getattr(here, key) != getattr(there, key)]
    summary = _read(found.places.artifacts_dir / "live" / name / "summary.json")
    shown, wanted = _pictures_by_epoch(found, name)
    if differ:
        return None, (None, f"{', '.join(differ)} differ from {NEXT}'s")
    if not summary.get("minutes") or not shown or wanted is None:
        return None, (None, "no whole training here")
    rate = shown * summary["epochs"] / (summary["minutes"] * 60)
    return wanted * found.params.train.epochs, (rate, "")


def _pictures_by_epoch(found: Evidence, name: str) -> tuple[float, float | None]:
    """Pictures that an epoch trains on, here and at stage 4."""
    scale = found.there
    if name == "classification":
        known = found.sampling.get("counts", {}).get("train", {}).get("known_pills", 0)
        pills = scale.samples * (1 - scale.val_share)
        return known * found.here.repeats, pills * scale.repeats
    images = found.places.data_dir / "detection" / "images" / "train"
    combinations = _combination_frames(found)
    if combinations is None:
        return 0.0, None
    of_train = combinations * (1 - scale.val_share) + scale.detection_single_frames
    return float(len(list(images.glob("*.jpg")))), of_train


def _combination_frames(found: Evidence) -> float | None:
    """Combination frames of stage 4, by the pills that one of them has here."""
    counts = found.sampling.get("counts", {})
    sides = [counts.get(split, {}) for split in ("train", "val")]
    pills = sum(s.get("pills_by", {}).get("image_type", {}).get("combination", 0) for s in sides)
    frames = sum(s.get("frames_by_image_type", {}).get("combination", 0) for s in sides)
    combined = found.there.samples * found.there.combination_share
    return combined * frames / pills if pills else None


def _photos(found: Evidence) -> float | None:
    """Photos that validate reads at stage 4, those of combinations in test aside."""
    scale, combinations = found.there, _combination_frames(found)
    if combinations is None:
        return None
    singles = scale.samples * (1 - scale.combination_share)
    return singles + combinations + scale.test_unknown_pills


def _minutes(name: str, count: float | None, rate: Rate, unit: str) -> Point:
    per_s, why = rate
    if per_s is None or count is None:
        return warned(name, f"null: {why or 'no combination frame counted here'}", _MEASURE)
    minutes = count / per_s / 60
    shown = f"{minutes:,.0f} min" if minutes < 600 else f"{minutes / 60:,.0f} h"
    return passed(name, f"{shown}: {count:,.0f} {unit} at {per_s:,.1f} a second, as measured here")


_MEASURE = "Measure at a scale with these sizes: dvc exp run -S scale=stage1"


def _mean_bytes(paths: list[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / len(paths)


def _read(path: Path) -> Json:
    return files.read_json(path, "Write it anew: dvc repro") if path.exists() else {}
