"""The evaluate stage: both checkpoints calibrated on val, measured on val and test.

Nothing measured on test is used for a choice.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.classification.classifier import TorchClassifier
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection import detector
from pillsnap.errors import DataError
from pillsnap.evaluation import (
    breakdown,
    fit,
    imprints,
    inference,
    outputs,
    refusal,
    sections,
)
from pillsnap.evaluation.answers import Answers, CropAnswers, new_conditions
from pillsnap.files import Json
from pillsnap.imprint.reader import Reader
from pillsnap.params import Params, at
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.stage.log import RunLog
from pillsnap.training import devices

LOGGED = (  # at the end of the stage
    "classification.top1",
    "classification.top5",
    "classification.ece",
    "detection.map50",
    "detection.map50_95",
    "pipeline.pill_f1",
    "pipeline.frame_exact",
    "pipeline.ms_per_frame_p50",
    "unknown.auroc",
    "training.total_minutes",
)


def evaluate(params: Params, log: RunLog) -> dict[str, float | None]:
    """Measure the checkpoints; write metrics, plots, tables, report and the calibration."""
    places = Places.of(params)
    reader = Reader() if params.evaluate.imprint_pills else None
    device = devices.choose(params.evaluate.device)
    described = devices.describe(device)
    classes = manifest.read_classes(places.classes)
    log.info(f"{len(classes)} classes on {described}")
    model = classifier.load(
        places.checkpoint("classification"), device, manifest.class_table_hash(places.classes)
    )
    hashes = {name: files.sha256_of(places.checkpoint(name)) for name in MODELS}
    fitted, val, test = _calibrate(params, places, model, hashes["classification"], log)
    log.info(f"refusal by {fitted.score}, chosen on {fitted.chosen_on}")
    boxes = detector.load(places.checkpoint("detection"), device)
    recogniser = Recogniser(boxes, model, fitted, classes, params.evaluate.batch_size)
    log.info("detecting, cropping and classifying pills in frames")
    stores = [FrameStore(places.frames(split)) for split in ("val", "test")]
    options = params.evaluate
    frames = [inference.read_frames(recogniser, one, options.match_iou, log) for one in stores]
    known_recall, set_risk = options.known_recall, options.set_risk
    fitted = fit.at_frames(fitted, val.known(), frames[0], known_recall, set_risk)
    read = None
    if reader is not None:
        fitted, read = _imprints(reader, params, places, (val, test), fitted, classes, log)
    calibration.save(places.calibration, fitted)
    answered = Answers(val, test, *(part.decided(fitted.threshold) for part in frames))
    speed = inference.speed(recogniser, stores[0])
    log.info("measuring")
    sampling = outputs.report_of(places.sampling, "build_manifest")
    validation = outputs.report_of(places.validation, "validate")
    held_out = sampling.get("left_out_codes", ())
    measured = measure(params, answered, fitted, classes, held_out)
    measured |= {
        "split": breakdown.split_overlap(validation),
        "speed": {**speed, "batch_size": recogniser.batch_size},
        "training": outputs.training(places),
        "models": {
            "detection": _model(boxes.config),
            "classification": {**_model(model.config), "parameters": model.parameters},
        },
        "provenance": outputs.provenance(places, sampling, hashes, described),
    }
    if read is not None:
        measured["imprint"] = read
    measured["targets"] = outputs.targets(params, measured)
    outputs.write(params, places, answered, fitted, classes, measured)
    return {name: at(measured, name) for name in LOGGED}


def measure(
    params: Params,
    answered: Answers,
    fitted: Calibration,
    classes: pd.DataFrame,
    held_out_codes: Collection[str],
) -> Json:
    """The sections of evaluation.json that come from outputs of the models; pure."""
    seed, options = params.seed, params.evaluate
    rounds = options.bootstrap_rounds
    val, (test, test_frames) = answered.val, answered.tested(new=False)
    known, unknown = val.known(), test.known(False)
    held_out = unknown.table["mapping_code"].isin(list(held_out_codes)).to_numpy(dtype=bool)
    kinds = (unknown.where(~held_out), unknown.where(held_out))
    by_pill = breakdown.outcomes(val, answered.val_frames, classes)
    every, single = test_frames.rows(), test_frames.rows("single")
    unknown_single = [row for row in single if (test_frames.frames[row].labelled_class < 0).all()]
    return {
        "classification": {
            **sections.classification(known, fitted, rounds, seed),
            "test": sections.top1_of(test.known(), "test"),
        },
        "detection": {
            **sections.detection(answered.val_frames, options, seed),
            "test": sections.detection(test_frames, options, seed),
        },
        "pipeline": {
            **sections.pipeline(answered.val_frames),
            "test": sections.pipeline_of(test_frames, np.setdiff1d(every, unknown_single)),
            "test_single": sections.pipeline_of(test_frames, np.array(unknown_single, np.int64)),
        },
        "unknown": refusal.unknown_pills(known, *kinds, fitted, classes),
        "operating_points": refusal.operating_points(known, test.known(), kinds[0], fitted),
        "sets": refusal.sets(known, fitted, options.set_risk, seed),
        "by": breakdown.by_condition(by_pill),
        "new_conditions": refusal.new_conditions(*answered.tested(new=True), fitted, options, seed),
    }


def _calibrate(
    params: Params, places: Places, model: TorchClassifier, sha256: str, log: RunLog
) -> tuple[Calibration, CropAnswers, CropAnswers]:
    """Classify the crops and calibrate on val's; the outputs on val and test."""
    options = params.evaluate
    stores = {split: CropStore(places.crops(split)) for split in manifest.SPLITS}
    how = (options.batch_size, log)
    log.info("classifying crops")
    centres = inference.class_centres(model, stores["train"], *how)
    val = inference.classify_crops(model, stores["val"], *how)
    test = inference.classify_crops(model, stores["test"], *how)
    known = val.known()
    if not len(known):
        raise DataError(
            "val holds no pill of a known code: nothing to calibrate on.",
            "Cut the crops again: dvc repro -f -s validate",
        )
    fitted = replace(
        fit.fit(
            known,
            val.known(False),
            centres,
            options.known_recall,
            options.set_risk,
        ),
        detection_confidence=options.detection_confidence,
        detection_iou=options.detection_iou,
        classification_sha256=sha256,
        class_table_hash=manifest.class_table_hash(places.classes),
    )
    return fitted, val, test


def _imprints(
    reader: Reader,
    params: Params,
    places: Places,
    answered: tuple[CropAnswers, CropAnswers],
    fitted: Calibration,
    classes: pd.DataFrame,
    log: RunLog,
) -> tuple[Calibration, Json]:
    """Read imprints of val and test; the calibration with what val says of them, the section."""
    log.info("reading imprints")
    most, seed = params.evaluate.imprint_pills, params.seed
    val, test = (
        imprints.read(reader, CropStore(places.crops(split)), answers, most, seed, log)
        for split, answers in zip(("val", "test"), answered, strict=True)
    )
    test = test.where(~new_conditions(test, val))
    fitted, auroc = imprints.fitted_to(fitted, val, classes)
    return fitted, {**imprints.section(val, test, fitted, classes, seed), "val_auroc": auroc}


def _model(config: Json) -> Json:
    return {key: config.get(key) for key in ("architecture", "image_px")}
