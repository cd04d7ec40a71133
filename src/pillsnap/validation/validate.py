"""validate: every row checked, every photo read once, a verdict, and the pictures to train on."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError
from pillsnap.params import ScaleParams, ValidateParams
from pillsnap.validation import audit, checks, pictures, report, split_checks
from pillsnap.validation.audit import Audit, Pictured
from pillsnap.validation.outputs import Handover, Photo, write_all
from pillsnap.validation.pictures import Fitness
from pillsnap.validation.prepare import FrameTask, Preparation, Recipe, prepare
from pillsnap.validation.report import Example
from pillsnap.validation.work_store import Hashes, Kind, WorkStore

Figures = dict[str, Any]


class Log(Protocol):
    """What validate says while it runs; RunLog is one."""

    def info(self, message: str) -> None:
        """A line for everyone."""

    def progress(self, step: int, total: int) -> None:
        """`step` of `total` photos are done."""


@dataclass(frozen=True)
class Places:
    """Where validate reads and writes; nothing is ever written under `root`."""

    root: Path  # the AI Hub tree
    artifacts_dir: Path
    data_dir: Path
    work_dir: Path  # for what is decoded so far


@dataclass(frozen=True)
class Settings:
    """The parameters validate depends on."""

    scale: ScaleParams
    validate: ValidateParams
    seed: int

    @property
    def recipe(self) -> Recipe:
        """Which pictures are made."""
        return Recipe(
            self.scale.crop_px,
            self.validate.crop_margin,
            self.scale.frame_px,
            self.validate.jpeg_quality,
            self.validate.max_pixels,
        )


def validate(places: Places, settings: Settings, log: Log) -> dict[str, float | None]:
    """Check, decode, report, and write crops/, frames/ and detection/; the counts of each.

    DataError when a check fails; validation.json, rejected.csv and validation.html are written
    first. Photos decoded by an earlier, killed or smaller run are not decoded again.
    """
    scale, params = settings.scale, settings.validate
    found, classes = _read(places)
    fitness, pictured = audit.check_rows(found, classes, places.root, scale, params)
    kinds = pictures.kinds_of(found.admitted, fitness, scale, settings.seed)
    tasks = _tasks(found, kinds, pictured, fitness, places.root)
    with WorkStore(places.work_dir / f"{settings.recipe.fingerprint}.sqlite") as store:
        prepared = prepare(tasks, settings.recipe, store, params.num_workers, log.progress)
        log.info(f"{len(tasks)} photos, {prepared.decoded} of them read in this run")
        if not places.root.is_dir():  # or every photo since would be told as missing
            raise DataError(
                f"The data root {places.root} is not a folder any more.",
                "Mount it again, then dvc repro: what was read is kept.",
            )
        hashes = store.hashes()
        near = audit.check_photos(found, classes, prepared, hashes, scale, params)
        photos = {
            path: Photo(key, kinds[path], hashes[key].content_hash)
            for path, key in prepared.keys.items()
            if path in kinds
        }
        figures = _figures(found, photos, hashes, fitness, near)
        examples = _examples(found, prepared, store, pictured, near)
        _publish(found, places, figures, examples, complete=True)
        _stop_if_failed(found.findings, places)
        counts = write_all(Handover(found.admitted, photos), store, places.data_dir)
        store.keep_only(prepared.keys.values())
    admitted = len(found.admitted)
    return {"admitted": admitted, "rejected": len(found.rows) - admitted, **counts}


def _read(places: Places) -> tuple[Audit, pd.DataFrame]:
    """Manifests and classes; what cannot be used is reported, then raised."""
    findings = Findings()
    folder = places.artifacts_dir
    try:
        parts = [
            manifest.read(folder / f"manifest_{split}.csv").assign(split=split)
            for split in manifest.SPLITS
        ]
        classes = manifest.read_classes(folder / "classes.csv")
    except DataError as error:
        findings.add("schema", error.fact)
        columns = [*manifest.COLUMNS, "split", "refused", "detail"]
        _publish(Audit(pd.DataFrame(columns=columns), findings), places, {}, [], complete=False)
        raise
    parts = [part.sort_values("image_path", kind="stable") for part in parts]
    rows = pd.concat(parts, ignore_index=True).assign(refused="", detail="")
    checks.check_schema(rows, findings)
    if findings.counts:
        _publish(Audit(rows, findings), places, {}, [], complete=False)
        _stop_if_failed(findings, places)
    return Audit(rows, findings), classes


def _tasks(
    found: Audit,
    kinds: Mapping[str, frozenset[Kind]],
    pictured: Pictured,
    fitness: Fitness,
    root: Path,
) -> list[FrameTask]:
    """A task per photo with an admitted pill or a place in the report, in manifest order."""
    columns = ["image_path", "refused", "box_x", "box_y", "box_w", "box_h"]
    columns += ["image_width", "image_height"]
    tasks = []
    rows = found.rows[columns].itertuples(index=False, name=None)
    for path, group in groupby(rows, key=itemgetter(0)):
        pills = list(group)
        example = frozenset([Kind.EXAMPLE] if path in pictured.paths else [])
        wanted = kinds.get(path, frozenset()) | example
        if wanted:
            task = FrameTask(
                image_path=path,
                path=root / path,
                boxes=tuple(pill[2:6] for pill in pills if not pill[1]),
                size=pills[0][6:],
                kinds=wanted,
                marks=tuple(pill[2:6] for pill in pills if pill[1]),
            )
            tasks.append(task)
    return tasks


def _figures(
    found: Audit,
    photos: Mapping[str, Photo],
    hashes: Mapping[str, Hashes],
    fitness: Fitness,
    near: list[tuple[int, int, int]],
) -> Figures:
    """What validation.json says besides the checks."""
    admitted = found.admitted
    used = [photos[path] for path in admitted["image_path"].unique()]
    return {
        "pictures": {
            "crops": len(admitted),
            "detection_frames": sum(Kind.DETECTION in photo.kinds for photo in used),
            "evaluation_frames": sum(Kind.FRAME in photo.kinds for photo in used),
        },
        "near_duplicates_by_bits": split_checks.near_histogram(near),
    }


def _examples(
    found: Audit,
    prepared: Preparation,
    store: WorkStore,
    pictured: Pictured,
    near: list[tuple[int, int, int]],
) -> list[Example]:
    """Thumbnails of photos with findings, and the nearest pairs across splits."""
    examples = []
    for name, paths in pictured.photos.items():
        for path in paths:
            if path in prepared.keys:
                jpegs = store.jpegs(prepared.keys[path], Kind.EXAMPLE)
                examples.append(Example(name, path, tuple(jpegs)))
    rows = found.admitted
    place = rows.groupby("image_path").cumcount().to_numpy()
    path_of = rows["image_path"].to_numpy()
    for bits, *pair in near[: audit.EXAMPLES_SHOWN]:
        crops = [store.jpegs(prepared.keys[path_of[i]], Kind.CROP)[place[i]] for i in pair]
        caption = f"{bits} bits: {path_of[pair[0]]} and {path_of[pair[1]]}"
        examples.append(Example("near_duplicates_across_splits", caption, tuple(crops)))
    return examples


def _publish(
    found: Audit, places: Places, figures: Figures, examples: list[Example], complete: bool
) -> None:
    """Write validation.json, rejected.csv and validation.html."""
    results = checks.results(found.findings, complete)
    refused = found.rows[found.rows["refused"] != ""]
    counts = found.admitted["split"].value_counts()
    verdict: Figures = {
        "ok": all(result["status"] != "fail" for result in results),
        "checks": results,
        "admitted": {split: int(counts.get(split, 0)) for split in manifest.SPLITS},
        "rejected": {str(k): int(n) for k, n in sorted(refused["refused"].value_counts().items())},
        "rows": len(found.rows),
        **figures,
    }
    files.write_json(places.artifacts_dir / "validation.json", verdict)
    reasons = refused["refused"] + ": " + refused["detail"]
    rejected = pd.DataFrame({"path": refused["image_path"], "reason": reasons})
    rejected = rejected.drop_duplicates().sort_values(["path", "reason"])
    text = rejected.to_csv(index=False, lineterminator="\n")
    files.write_text(places.artifacts_dir / "rejected.csv", text)
    page = report.render(verdict, rejected, examples)
    files.write_text(places.artifacts_dir / "validation.html", page)


def _stop_if_failed(findings: Findings, places: Places) -> None:
    failed = [
        check
        for check in checks.CHECKS
        if check.severity is checks.Severity.ERROR and findings.counts.get(check.name)
    ]
    if failed:
        lines = [
            f"  {check.name}: {findings.counts[check.name]} {check.counts}, "
            f"such as {findings.examples[check.name][0]}"
            for check in failed
        ]
        raise DataError(
            f"{len(failed)} checks of the data failed:\n" + "\n".join(lines),
            f"{failed[0].cure} All findings: {places.artifacts_dir}/validation.html",
        )
