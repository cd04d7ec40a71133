"""CPU time and memory of evaluate's metrics at stage 3's size, on made outputs; size of the report.

Run: python benchmarks/evaluation.py [crops] [classes]
"""

import io
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make.made_answers import class_table, frame_answer, made_centres
from pillsnap.evaluation import (
    breakdown,
    cards,
    evaluate,
    fit,
    montage,
    outputs,
    report,
    tables,
)
from pillsnap.evaluation.answers import Answers, CropAnswers, FrameSet
from pillsnap.params import Params, load
from pillsnap.places import MODELS
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.centres import normalised

Json = dict[str, Any]

FEATURES, FRAMES = 1280, 2000


def answers(pills: int, classes: int, known: bool, rng: np.random.Generator) -> CropAnswers:
    """Logits of a classifier that is right nine times in ten; unknown pills are in singles."""
    truth = np.sort(rng.integers(0, classes, pills))
    logits = rng.normal(0, 1, (pills, classes)).astype(np.float32)
    if known:
        logits[np.arange(pills), truth] += 5
    table = pd.DataFrame(
        {
            "image_path": [f"{known}/{pill}.png" for pill in range(pills)],
            "mapping_code": [f"K-{index:06d}" for index in truth],
            "class_index": truth if known else -1,
            "known": known,
            "image_type": np.where(known & (np.arange(pills) % 20 == 0), "combination", "single"),
            "group_id": [f"g{pill // 6}" for pill in range(pills)],
            **{name: rng.integers(0, 3, pills) for name in ("back", "direction", "light")},
            "latitude": 70,
            "longitude": 0,
            **{f"box_{side}": 10 for side in "xywh"},
            "content_hash": "",
        }
    )
    embeddings = rng.normal(0, 1, (pills, FEATURES)).astype(np.float32)
    return CropAnswers(logits, embeddings, table)


def report_page(
    params: Params, answered: Answers, fitted: Calibration, table: pd.DataFrame, measured: Json
) -> str:
    """The report with pictures of noise, which JPEG cannot compress."""
    rng, known = np.random.default_rng(0), answered.val
    photo = rng.integers(0, 256, (1280, 976, 3), dtype=np.uint8)
    card = cards.card(((photo[:976], "noise"),) * 3, ("noise",) * 3)
    sheet = cards.sheet([card] * cards.CARDS, "")
    shown = answered.val_frames.frames[: montage.FRAMES]
    frames = montage.frame_montage([montage.framed(photo, one, table) for one in shown])
    drawn = {"detections": frames, "confusions": sheet, "unknown": sheet}
    pictures = {}
    for name, picture in drawn.items():
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=outputs.REPORT_QUALITY, subsampling=0)
        pictures[name] = buffer.getvalue()
    measured |= {"training": {"total_minutes": 1.0}, "speed": {}, "provenance": {}}
    measured |= {"models": {name: {"architecture": "made"} for name in MODELS}}
    measured |= {"split": breakdown.split_overlap({})}
    measured["targets"] = outputs.targets(params, measured)
    plots = outputs.plots(answered, fitted, table, params.evaluate.worst_classes)
    classes = breakdown.per_class(known.truth, known.logits.argmax(axis=1), table)
    return report.render(measured, plots, classes, pictures, params.scale)


def main() -> None:
    """Print CPU seconds of each step and the peak memory."""
    pills, classes = (int(value) for value in (*sys.argv[1:], 18_525, 1_000)[:2])
    params, rng, table = load(), np.random.default_rng(0), class_table(classes)
    val, test = answers(pills, classes, True, rng), answers(5000, classes, False, rng)
    centres = made_centres(normalised(rng.normal(0, 1, (classes, FEATURES))))
    frames = [
        frame_answer(i, ("single", "combination")[i % 2], [i % classes], [i % classes])
        for i in range(FRAMES)
    ]
    answered = Answers(val, test, FrameSet(frames), FrameSet(frames[1:200:2]))
    marks = [time.process_time()]
    fitted = fit.fit(val, test, centres, 0.95, 0.01)
    marks.append(time.process_time())
    measured = evaluate.measure(params, answered, fitted, table, ())
    marks.append(time.process_time())
    tables.crops("val", val, fitted, table)
    marks.append(time.process_time())
    page_bytes = len(report_page(params, answered, fitted, table, measured).encode())
    marks.append(time.process_time())
    steps = ("calibrate", "measure", "tables", "report")
    for name, seconds in zip(steps, np.diff(marks), strict=True):
        print(f"{name:10} {seconds:7.1f} s")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{pills} crops, {classes} classes: {marks[-1] - marks[0]:.1f} CPU s, peak {peak_gb:.2f} GB"
    )
    print(f"report.html {page_bytes / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
