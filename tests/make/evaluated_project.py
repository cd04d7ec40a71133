"""A project after evaluate, without a training: the demo scale's files with models that learnt
nothing and a detector that shows every box it has, so that each frame gives pills."""

from collections.abc import Mapping, Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path

import pandas as pd
import torch
import yaml

from make import crop_files
from make.drawn_models import COLOURS, STRANGE, classes, frame
from make.import_graph import ROOT
from pillsnap.classification import classifier
from pillsnap.dataset import arrow, manifest, pixels
from pillsnap.detection import detector
from pillsnap.evaluation import evaluate as evaluation
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.release import export
from pillsnap.release.bundle import Bundle
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints
from pillsnap.validation.outputs import FRAME_SCHEMA

EVALUATE = {"device": "cpu", "bootstrap_rounds": 20, "batch_size": 8}
EVERY_BOX = 0.001  # of a detector that learnt nothing no box is surer than a hundredth
Square = tuple[int, int, int, tuple[int, int, int]]  # x, y, side, colour
KINDS = ("single", "combination")


def pills_of(split: str) -> list[tuple[int, int]]:
    """(class, group) of each pill of a split."""
    known = [(index, group) for index in range(4) for group in range(3)]
    return {"train": known, "val": known, "test": [(-1, group) for group in range(4)]}[split]


def write_split(places: Places, split: str) -> None:
    rows, pictures = [], []
    with arrow.arrow_writer(places.data_dir / "frames" / f"{split}.arrow", FRAME_SCHEMA) as writer:
        for number, (index, group) in enumerate(pills_of(split)):
            colour = STRANGE if index < 0 else tuple(int(v) for v in COLOURS[index])
            photo = frame((40, 50, 60, colour))
            place = {"image_path": f"{split}/{number}.png", "image_type": KINDS[number % 2]}
            box = {"box_x": 40, "box_y": 50, "box_w": 60, "box_h": 60}
            name = {
                "mapping_code": f"K-{index % 1000:06d}",
                "class_index": index,
                "known": index >= 0,
                "group_id": f"{split}{group}",
            }
            angles = dict.fromkeys(["back", "direction", "light", "latitude", "longitude"], 0)
            rows.append({**place, **box, **name, **angles, "content_hash": ""})
            pictures.append(pixels.encode(pixels.cut(photo, (40, 50, 60, 60), 32, 0.1), 95))
            size = {"width": 300, "height": 200, "jpeg": pixels.encode(photo, 95)}
            writer.add({**place, **size, "pills": [{**name, **box}]})
    crop_files.write_store(places.crops(split), pd.DataFrame(rows), pictures)


def publish_classifier(path: Path, **changes: object) -> dict[str, torch.Tensor]:
    """A classifier that learnt nothing, its configuration changed; returns its weights."""
    config = {"kind": "classification", "architecture": "test_resnet", "classes": 4}
    config |= {"image_px": 32, "crop_px": 32, "crop_margin": 0.1, "class_table_hash": "abc"}
    config |= {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]} | changes
    weights = classifier.build("test_resnet", 4, None, 0).state_dict()
    checkpoints.publish(path, weights, config)
    return weights


def publish_detector(path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    config = {"kind": "detection", "architecture": "yolo11n", "image_px": 64, "classes": ["pill"]}
    model = detector.DetectionModel("yolo11n.yaml", nc=1, verbose=False)
    checkpoints.publish(path, model.state_dict(), config | changes)
    return path


def lay(folder: Path, **rules: float) -> Places:
    """All that evaluate reads, for four classes; `rules` change params.yaml's evaluate section."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    tree["evaluate"].update(EVALUATE | rules)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), "utf-8")
    scale = tree["scale"]
    places = Places(folder / "artifacts" / scale, folder / "data" / scale, scale)
    manifest.write_classes(places.classes, classes())
    for split in manifest.SPLITS:
        write_split(places, split)
    table_hash = manifest.class_table_hash(places.classes)
    publish_classifier(places.checkpoint("classification"), class_table_hash=table_hash)
    publish_detector(places.checkpoint("detection"))
    return places


def evaluate(folder: Path) -> None:
    with chdir(folder):
        params = load()
        live = params.artifacts_dir / "live"
        live.mkdir()
        evaluation.evaluate(params, RunLog("evaluate", live, "ERROR"))


@cache
def made(base: Path) -> Places:
    """An evaluated project, made once in the tests' base folder: look, do not touch."""
    folder = base / "evaluated"
    places = lay(folder, detection_confidence=EVERY_BOX)
    evaluate(folder)
    return places


@cache
def exported(base: Path) -> Bundle:
    """Its bundle: look, do not touch."""
    out = base / "exported" / "bundle"
    export.export(made(base), out, 8, 10**6, None)
    return Bundle(out)


def write_frames(path: Path, photos: Mapping[str, Sequence[tuple[Square, int | None]]]) -> None:
    """A frame store of squares, each with the class its label gives it (-1: never learnt, None:
    it has no label)."""
    with arrow.arrow_writer(path, FRAME_SCHEMA) as writer:
        for name, pills in photos.items():
            labels = [
                {
                    "mapping_code": f"K-{index % 1000:06d}", "class_index": index,
                    "known": index >= 0, "group_id": name,
                    "box_x": x, "box_y": y, "box_w": side, "box_h": side,
                }
                for (x, y, side, _), index in pills
                if index is not None
            ]  # fmt: skip
            kind = "single" if len(labels) == 1 else "combination"
            jpeg = pixels.encode(frame(*(square for square, _ in pills)), 95)
            size = {"width": 300, "height": 200}
            row = {"image_path": name, "image_type": kind, **size, "jpeg": jpeg, "pills": labels}
            writer.add(row)
