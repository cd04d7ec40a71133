"""What damage.py damages: checkpoints, ONNX graphs, calibration, gallery, class table, bundles."""

import json
import random
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from damage_targets import REFUSED, Target

from make import evaluated_project
from make.damage import damaged, damaged_text, damaged_tree
from make.drawn_models import GREEN, RED, frame
from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.dataset import manifest
from pillsnap.detection import detector
from pillsnap.places import Places
from pillsnap.prediction import enrolment, load
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import EnrolledPhoto, Entry, Gallery
from pillsnap.recognition import calibration
from pillsnap.release import export
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))
CPU = torch.device("cpu")


def project_content(backend: str, bundle: Path | None) -> Any:
    """What a recogniser is made of, and what it sees in a picture."""
    loaded = load.load(backend, bundle, "cpu")
    tool = loaded.recogniser
    centres = tool.calibration.centres
    fitted = replace(tool.calibration, centres=None)
    means = centres.means.tobytes(), centres.spread.tobytes()
    configs = json.dumps([tool.detector.config, tool.classifier.config], sort_keys=True)
    pills = tool.recognise([PAIR], top=4)
    limits = replace(loaded, recogniser=None)
    return limits, repr(fitted), means, configs, tool.classes.to_csv(), pills


def of_file(count: int, path: Path, use: Callable[[], Any], text: bool = False) -> Target:
    """A file that is damaged in its place."""
    content, whole = path.read_bytes(), use()

    def put(case: bytes) -> Any:
        path.write_bytes(case)
        try:
            return use()
        finally:
            path.write_bytes(content)

    change = damaged_text if text else damaged
    return Target(count, lambda chance: change(content, chance), put, whole)


def sealed(count: int, path: Path, use: Callable[[], Any]) -> Target:
    """A sealed JSON file whose values were changed before it was sealed."""
    content, tree = path.read_bytes(), files.read_sealed_json(path, "")

    def put(case: Any) -> Any:
        try:
            files.write_sealed_json(path, case)
        except (ValueError, AttributeError, TypeError):  # NaN, or no object: nobody can write it
            return REFUSED
        try:
            return use()
        finally:
            path.write_bytes(content)

    return Target(count, lambda chance: damaged_tree(tree, chance), put)


def published(path: Path, load: Callable[[Path], Any]) -> Any:
    """What a published checkpoint holds, once a model was made of it."""
    load(path)
    weights, config = checkpoints.load_published(path)
    return checkpoints.weights_hash(weights), json.dumps(config)


def initial_weights(path: Path) -> Any:
    """What a training that starts from a file of weights starts with."""
    model = classifier.build("test_resnet", 4, None, 0)
    classifier.load_weights(model, path)
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def unfinished() -> Target:
    """The newest state of a training; REFUSED where the state before it is used instead."""
    states = [{"epoch": epoch, "weights": torch.full((9999,), float(epoch))} for epoch in (1, 2)]
    with WorkFolder("stage", "key", Path.cwd()) as folder:
        for state in states:
            folder.save(state)
    path = folder.path / "newest.ckpt"

    def use() -> Any:
        state, _ = WorkFolder("stage", "key", Path.cwd()).load()
        return REFUSED if repr(state) == repr(states[0]) else repr(state)

    return of_file(500, path, use)


def damaged_bundle(count: int, folder: Path) -> Target:
    """One to three files of a bundle damaged, emptied, removed, swapped or put in."""
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    expected = {backend: project_content(backend, folder) for backend in ("torch", "onnx")}

    def make(chance: random.Random) -> tuple[str, dict[Path, bytes | None]]:
        changes: dict[Path, bytes | None] = {}
        for path in chance.sample(list(before), chance.choice((1, 1, 2, 3))):
            other = before[chance.choice(list(before))]
            put = chance.choice((None, b"", other, *[damaged(before[path], chance)] * 5))
            changes[path if chance.random() < 0.95 else path.with_suffix(".more")] = put
        return chance.choice(("onnx", "torch")), changes

    def use(case: tuple[str, dict[Path, bytes | None]]) -> Any:
        backend, changes = case
        for path, content in changes.items():
            path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        try:
            return project_content(backend, folder) == expected[backend]
        finally:
            for path in changes:
                path.unlink(missing_ok=True)
                if path in before:
                    path.write_bytes(before[path])

    return Target(count, make, use, whole=True)


def model_targets() -> dict[str, Target]:
    """Checkpoints and a bundle of a project that is made in the folder we are in."""
    places = evaluated_project.made(Path.cwd())
    chdir(places.artifacts_dir.parents[1]).__enter__()
    places = Places(Path("artifacts/demo"), Path("data/demo"), places.scale)
    tool = load.load("torch", None, "cpu").recogniser
    fitted = tool.calibration
    size = galleries.ANGLES, fitted.centres.means.shape[2]
    drug = EnrolledPhoto("a.png", "", np.full(size, 0.1, np.float32))
    gallery, bundle = Path("gallery/demo.json"), Path("bundle")
    drugs = (Entry("K-000777", "", (), (drug,)),)
    galleries.save(gallery, Gallery(fitted.classification_sha256, 1, drugs))
    export.export(places, bundle, 8, 10**6, gallery)
    timm = bundle / "timm" / "model.safetensors"
    by_torch = partial(project_content, "torch", None)
    by_onnx = partial(project_content, "onnx", bundle)
    named, found = (places.checkpoint(name) for name in ("classification", "detection"))

    def as_classifier(path: Path) -> Any:
        return classifier.load(path, CPU, manifest.class_table_hash(places.classes))

    def as_detector(path: Path) -> Any:
        return detector.load(path, CPU)

    def calibrated() -> Any:
        read = calibration.load(places.calibration, fitted.classification_sha256)
        return repr(read), read.centres.means.tobytes(), read.centres.spread.tobytes()

    def enrolled() -> Any:
        read = galleries.load(gallery, fitted.classification_sha256, fitted.centres.means.shape[2])
        return repr(enrolment.with_gallery(tool, read).recognise([PAIR], top=5)), repr(read)

    return {
        "classifier .pt": of_file(1000, named, partial(published, named, as_classifier)),
        "detector .pt": of_file(1000, found, partial(published, found, as_detector)),
        "initial weights .pt": of_file(500, named, partial(initial_weights, named)),
        "initial weights .safetensors": of_file(500, timm, partial(initial_weights, timm)),
        "unfinished checkpoint": unfinished(),
        "recogniser.json": of_file(500, places.calibration, calibrated, text=True),
        "gallery": of_file(500, gallery, enrolled, text=True),
        "classes.csv": of_file(500, places.classes, by_torch, text=True),
        "detection.onnx": of_file(500, bundle / "detection.onnx", by_onnx),
        "classification.onnx": of_file(500, bundle / "classification.onnx", by_onnx),
        "sealed recogniser.json": sealed(500, places.calibration, by_torch),
        "sealed gallery": sealed(500, gallery, enrolled),
        "bundles": damaged_bundle(600, bundle),
    }
