"""The evaluate stage: checkpoints back from disk, calibrated on val, measured on val and test.

Nothing measured on the test part is used for a choice.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.errors import DataError
from pillsnap.evaluation import breakdown, fit, honesty, inference, outputs, sections
from pillsnap.evaluation.answers import Answers, CropAnswers
from pillsnap.params import Params
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.stage.log import RunLog
from pillsnap.training import devices

Json = dict[str, Any]


def evaluate(params: Params, log: RunLog) -> dict[str, float | None]:
    """Measure the checkpoints and write metrics.json, figures, exports and the calibration."""
    places = Places.of(params)
    device = devices.choose(params.evaluate.device)
    classes = manifest.read_classes(places.classes)
    log.info(f"{len(classes)} classes on {devices.describe(device)}")
    fitted, val, test = _calibrate(params, places, device, len(classes), log)
    recogniser = Recogniser.load(
        places.checkpoint("detection"),
        places.checkpoint("classification"),
        places.calibration,
        places.classes,
        device,
        params.evaluate.batch_size,
    )
    batch_size = params.evaluate.batch_size
    log.info("detecting, cutting and naming on frames")
    val_frames = inference.read_frames(
        recogniser, FrameStore(places.frames("val")), batch_size, log
    )
    test_frames = inference.read_frames(
        recogniser, FrameStore(places.frames("test")), batch_size, log
    )
    answered = Answers(val, test, val_frames, test_frames)
    store = FrameStore(places.frames("val"))
    some = [store.decode(index) for index in range(min(batch_size, len(store)))]
    speed = {**inference.speed(recogniser, some), "batch_size": batch_size}
    log.info("measuring")
    left_out = honesty.left_out_codes(honesty.read(places.sampling))
    measured = measure(params, answered, fitted, classes, left_out)
    measured["honesty"] = honesty.of_splits(honesty.read(places.validation))
    measured |= {"speed": speed, **_training(params, places, measured)}
    measured["provenance"] = [outputs.provenance(places, devices.describe(device))]
    models = {
        "detection": dict(recogniser.detector.config),
        "classification": dict(recogniser.classifier.config),
    }
    outputs.write(params, places, answered, fitted, classes, measured, models)
    return headline(measured)


def measure(
    params: Params,
    answered: Answers,
    fitted: Calibration,
    classes: pd.DataFrame,
    left_out_codes: Collection[str],
) -> Json:
    """The sections of metrics.json that come from the answers; pure."""
    seed, options = params.seed, params.evaluate
    rounds = options.bootstrap_rounds
    known, strangers = answered.val.known(), answered.test.known(False)
    left_out = strangers.table["mapping_code"].isin(list(left_out_codes)).to_numpy(dtype=bool)
    kinds = (strangers.where(~left_out), strangers.where(left_out))
    seen = breakdown.pills_seen(answered.val, answered.val_frames, options.match_iou, classes)
    tests = {
        kind: [frame for frame in answered.test_frames if frame.image_type == kind]
        for kind in sections.IMAGE_TYPES
    }
    classification = sections.classification(known, fitted, rounds, seed)
    test_known = answered.test.known()
    classification["test"] = sections.top1_of(test_known, rounds, seed, "test")
    pipeline = sections.pipeline(answered.val_frames, options, seed)
    pipeline["test"] = sections.pipeline_of(tests["combination"], options, seed)
    if tests["single"]:
        pipeline["test_single"] = sections.pipeline_of(tests["single"], options, seed)
    return {
        "classification": classification,
        "detection": sections.detection(answered.val_frames, options, seed),
        "pipeline": pipeline,
        "unknown": sections.unknown(known, *kinds, fitted, rounds, seed),
        "by": breakdown.by_facet(seen, rounds, seed),
    }


def headline(measured: Json) -> dict[str, float | None]:
    """The figures that stand for the rest."""
    names = {
        "classification": ("top1", "top5", "ece"),
        "detection": ("map50", "map50_95"),
        "pipeline": ("pill_f1", "frame_exact", "ms_per_frame_p50"),
        "unknown": ("auroc",),
        "training": ("total_minutes",),
    }
    return {f"{part}.{key}": measured[part][key] for part, keys in names.items() for key in keys}


def targets(params: Params, measured: Json) -> Json:
    """Each goal with its value, its interval and whether it is met (None without a value)."""
    goals = params.targets
    top1, map50 = measured["classification"], measured["detection"]
    minutes = measured["training"]["total_minutes"]
    return {
        "classification_top1": _at_least(
            goals.classification_top1, top1["top1"], top1["ci"]["top1"]
        ),
        "detection_map50": _at_least(goals.detection_map50, map50["map50"], map50["ci"]["map50"]),
        "training_minutes": {
            "goal": goals.training_minutes,
            "value": minutes,
            "met": None if minutes is None else minutes <= goals.training_minutes,
            "ci": None,
        },
    }


def _at_least(goal: float, value: float | None, interval: Any) -> Json:
    met = None if value is None else value >= goal
    return {"goal": goal, "value": value, "met": met, "ci": interval}


def _training(params: Params, places: Places, measured: Json) -> Json:
    found = {name: _summary(places.artifacts_dir / "live" / name) for name in MODELS}
    minutes = {name: summary.get("minutes") for name, summary in found.items()}
    epochs = [summary["epochs"] for summary in found.values() if "epochs" in summary]
    whole = None not in minutes.values()
    section = sections.explained(
        {
            **{f"{name}_minutes": minutes[name] for name in MODELS},
            "total_minutes": sum(minutes.values()) if whole else None,
            "epochs": max(epochs, default=None),
            "resumed": sum(summary["resumed"] for summary in found.values()) if whole else None,
        },
        "the training left no live/<training>/summary.json",
    )
    return {"training": section, "targets": targets(params, {**measured, "training": section})}


def _summary(live_dir: Path) -> Json:
    path = live_dir / "summary.json"
    if not path.is_file():
        return {}
    summary: Json = json.loads(path.read_text(encoding="utf-8"))
    return summary


def _calibrate(
    params: Params, places: Places, device: torch.device, classes: int, log: RunLog
) -> tuple[Calibration, CropAnswers, CropAnswers]:
    """Name the crops, fit the calibration to val's and write it; val's and test's answers."""
    options = params.evaluate
    table_hash = manifest.class_table_hash(places.classes)
    path = places.checkpoint("classification")
    namer = classifier.load(path, device, table_hash)
    size = (classes, options.batch_size, log)
    log.info("naming crops")
    means = inference.class_means(namer, CropStore(places.crops("train")), *size)
    val = inference.name_crops(namer, CropStore(places.crops("val")), *size)
    test = inference.name_crops(namer, CropStore(places.crops("test")), *size)
    known = val.known()
    if not len(known):
        raise DataError("val holds no known pill: nothing to calibrate on.", "Rebuild: dvc repro")
    strangers = {
        "val_unknown": val.known(False).outputs,
        "glued": inference.name_glued(namer, CropStore(places.crops("val")), params.seed, *size),
    }
    fitted = fit.fit(
        known.outputs, known.truth, strangers, means, options.known_recall, params.seed
    )
    fitted = replace(
        fitted,
        detection_confidence=options.detection_confidence,
        detection_iou=options.detection_iou,
        classification_sha256=files.sha256_of(path),
        class_table_hash=table_hash,
    )
    calibration.save(places.calibration, fitted)
    log.info(f"refusal by {fitted.score}, chosen on {fitted.chosen_on}")
    return fitted, val, test
