"""validate: check every row, read every photo once, report, write the pictures for training."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pandas as pd

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.errors import DataError
from pillsnap.params import Params, at
from pillsnap.stage.engines import Engine
from pillsnap.stage.log import RunLog
from pillsnap.validation import check_table, checks, parts, pictures, report
from pillsnap.validation.checks import CheckedRows
from pillsnap.validation.outputs import AdmittedPhoto, write_all
from pillsnap.validation.parts import Part
from pillsnap.validation.prepare import (
    FrameTask,
    Keyed,
    OnProgress,
    Preparation,
    Recipe,
    prepare,
    with_keys,
)
from pillsnap.validation.report import Example
from pillsnap.validation.work_store import Kind, WorkStore

REBUILD = "Rebuild it: dvc repro -f build_manifest"


@dataclass(frozen=True)
class ValidationPaths:
    """Where validate reads and writes; nothing is ever written under `root`."""

    root: Path  # the AI Hub tree
    artifacts_dir: Path
    data_dir: Path
    work_dir: Path  # of the work stores

    @classmethod
    def of(cls, params: Params) -> "ValidationPaths":
        """Those of the chosen scale."""
        work_dir = Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints" / "validate"
        work_dir /= params.scale
        return cls(params.data_root(), params.artifacts_dir, params.data_dir, work_dir)


def validate(places: ValidationPaths, params: Params, log: RunLog) -> dict[str, float | None]:
    """Check, decode, report, and write crops/, frames/ and detection/; the counts of each.

    DataError when a check fails; validation.json, rejected.csv and validation.html are written
    first. Photos decoded by parts, or by an earlier, killed or smaller run, are not decoded again.
    """
    classes, verdict, kinds = _chosen(places, params)
    keyed, missing = with_keys(_tasks(verdict, kinds, places.root))
    version = Recipe.of(params).pictures_version
    with WorkStore(places.work_dir / f"{version}.sqlite") as store:
        joined = parts.join(places.work_dir, version, keyed, store)
        if joined:
            log.info(f"{joined} parts joined")
        prepared = _prepared((keyed, missing), places, params, store, log.progress)
        log.info(str(prepared))
        in_store = store.hashes()
        hashes = {path: in_store[key] for path, key in prepared.keys.items()}
        checks.run_on_photos(verdict, hashes, prepared.rejected, classes, params)
        admitted = {
            path: AdmittedPhoto(prepared.keys[path], kinds[path], hashes[path].content_hash)
            for path in verdict.admitted["image_path"].unique()
        }
        examples = _examples(verdict, prepared.keys, store)
        counts = _counts(verdict, admitted)
        report.write(verdict, places.artifacts_dir, counts, examples)
        _stop_if_failed(verdict, places.artifacts_dir)
        write_all(verdict.admitted, admitted, store, places.data_dir)
        store.keep_only(prepared.keys.values())
    pills = len(verdict.admitted)
    return {"admitted": pills, "rejected": len(verdict.rows) - pills, **counts}


def read_part(
    places: ValidationPaths, params: Params, part: Part, on_progress: OnProgress
) -> Preparation:
    """Decode the photos of one part only, into a store of its own, for `validate` to join."""
    _, verdict, kinds = _chosen(places, params)
    tasks = _tasks(verdict, kinds, places.root)
    keyed, missing = with_keys(parts.split(tasks, part.count)[part.number - 1])
    with WorkStore(part.store(places.work_dir, Recipe.of(params).pictures_version)) as store:
        prepared = _prepared((keyed, missing), places, params, store, on_progress)
        store.finish(parts.contents(keyed))
    return prepared


def _prepared(
    photos: Keyed,
    places: ValidationPaths,
    params: Params,
    store: WorkStore,
    on_progress: OnProgress,
) -> Preparation:
    engine = Engine(params.validate_.engine, params.validate_.num_workers)
    return prepare(photos, places.root, Recipe.of(params), store, engine, on_progress)


def _chosen(
    places: ValidationPaths, params: Params
) -> tuple[pd.DataFrame, CheckedRows, dict[str, frozenset[Kind]]]:
    """The classes, the verdict on the rows, and the pictures to make of each photo."""
    rows, classes = _read(places.artifacts_dir)
    corrected = _corrected(places.artifacts_dir)
    verdict = checks.run(rows, classes, places.root, params.at_scale, corrected)
    if verdict.findings.counts.get("schema"):
        report.write(verdict, places.artifacts_dir)
        _stop_if_failed(verdict, places.artifacts_dir)
    chosen = verdict.admitted, verdict.partly_labelled
    return classes, verdict, pictures.kinds_of(*chosen, params.at_scale, params.seed)


def _read(artifacts_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of all splits and classes; files that cannot be used are reported, then raised."""
    try:
        parts = [
            manifest.read(artifacts_dir / f"manifest_{split}.csv").assign(split=split)
            for split in manifest.SPLITS
        ]
        classes = manifest.read_classes(artifacts_dir / "classes.csv")
    except DataError as error:
        columns = [*manifest.COLUMNS, "split", "rejected", "detail"]
        verdict = CheckedRows(pd.DataFrame(columns=columns, dtype="str"))
        verdict.findings.add("schema", error.fact)
        report.write(verdict, artifacts_dir)
        raise
    parts = [part.sort_values("image_path", kind="stable") for part in parts]
    return pd.concat(parts, ignore_index=True), classes


def _corrected(artifacts_dir: Path) -> int:
    """Pills that corrections added or deleted."""
    path = artifacts_dir / "sampling.json"
    if not path.exists():  # manifests that build_manifest did not write
        return 0
    report = files.read_json(path, REBUILD)
    return sum(int(at(report, f"corrections.used.{action}") or 0) for action in ("add", "delete"))


def _tasks(
    verdict: CheckedRows, kinds: Mapping[str, frozenset[Kind]], root: Path
) -> list[FrameTask]:
    """A task per photo with an admitted pill or a place in the report, in manifest order."""
    columns = ["image_path", "rejected", "box_x", "box_y", "box_w", "box_h"]
    columns += ["image_width", "image_height"]
    shown = {path for paths in verdict.shown.values() for path in paths}
    root = root.absolute()  # another host may read it
    tasks = []
    rows = verdict.rows[columns].itertuples(index=False, name=None)
    for path, group in groupby(rows, key=itemgetter(0)):
        pills = list(group)
        wanted = kinds.get(path, frozenset())
        if path in shown:
            wanted |= {Kind.EXAMPLE}
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


def _counts(verdict: CheckedRows, photos: Mapping[str, AdmittedPhoto]) -> dict[str, int]:
    """How many pictures of each kind are admitted."""
    return {
        "crops": len(verdict.admitted),
        "detection_frames": sum(Kind.DETECTION in photo.kinds for photo in photos.values()),
        "evaluation_frames": sum(Kind.FRAME in photo.kinds for photo in photos.values()),
    }


def _examples(verdict: CheckedRows, keys: Mapping[str, str], store: WorkStore) -> list[Example]:
    """Thumbnails of photos with findings, and the nearest pairs across splits."""
    examples = []
    for name, paths in verdict.shown.items():
        for path in paths:
            if path in keys:
                jpegs = store.jpegs(keys[path], Kind.EXAMPLE)
                examples.append(Example(name, path, tuple(jpegs)))
    rows = verdict.admitted
    place = rows.groupby("image_path").cumcount().to_numpy()
    path_of = rows["image_path"].to_numpy()
    for bits, *pair in verdict.near[: checks.EXAMPLES_SHOWN]:
        crops = [store.jpegs(keys[path_of[i]], Kind.CROP)[place[i]] for i in pair]
        caption = f"{bits} bits: {path_of[pair[0]]} and {path_of[pair[1]]}"
        examples.append(Example("near_duplicates_across_splits", caption, tuple(crops)))
    return examples


def _stop_if_failed(verdict: CheckedRows, artifacts_dir: Path) -> None:
    findings, failed = verdict.findings, check_table.failed(verdict.findings)
    if failed:
        lines = [
            f"  {name}: {findings.counts[name]} {check.counts}, "
            f"such as {findings.examples[name][0]}"
            for name, check in failed.items()
        ]
        cures = dict.fromkeys(check.cure for check in failed.values())
        raise DataError(
            f"{len(failed)} checks of the data failed:\n" + "\n".join(lines),
            f"{' '.join(cures)} All findings: {artifacts_dir}/validation.html",
        )
