"""Checklist: the weights both models start from, loaded as the trainings load them."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pillsnap.errors import UserError
from pillsnap.operation.point import Point, failed, passed
from pillsnap.params import Params

NETWORK_S = 4.0


def check(params: Params, root: Path) -> list[Point]:
    """Points `classifier weights` and `detector weights`; nothing is downloaded."""
    return [_classifier(params), _detector(params, root)]


def _classifier(params: Params) -> Point:
    from huggingface_hub import try_to_load_from_cache  # brings its HTTP client

    from pillsnap.classification import classifier  # torch and timm: seconds to import

    name, scale = "classifier weights", params.at_scale
    wanted, offline = scale.classifier_weights, os.environ.get("HF_HUB_OFFLINE") == "1"
    files = ("model.safetensors", "pytorch_model.bin")
    found = (try_to_load_from_cache(f"timm/{scale.classifier}", file) for file in files)
    kept = any(isinstance(path, str) for path in found)
    if wanted == "hub" and not kept:
        wanted = None  # the model's name is judged all the same
    point = _loaded(
        name,
        lambda: classifier.build(
            scale.classifier, scale.classes, wanted, params.seed, scale.drop_path
        ),
        scale.classifier_weights,
    )
    if scale.classifier_weights != "hub" or kept or point.status == "fail":
        return point
    key = f"scales.{params.scale}.classifier_weights"
    return _downloadable(name, key, "https://huggingface.co", offline)


def _detector(params: Params, root: Path) -> Point:
    name, scale = "detector weights", params.at_scale
    kept = root / ".checkpoints" / f"{scale.detector}.pt"
    if scale.detector_weights is None:
        return passed(name, "from scratch")
    if scale.detector_weights == "hub" and not kept.is_file():
        key = f"scales.{params.scale}.detector_weights"
        return _downloadable(name, key, "https://github.com", offline=False)
    from pillsnap.detection import train  # torch and ultralytics: seconds to import

    wanted = str(kept) if scale.detector_weights == "hub" else scale.detector_weights
    load = train.start_weights
    return _loaded(name, lambda: load(scale.detector, wanted), scale.detector_weights)


def _loaded(name: str, load: Callable[[], object], wanted: str | None) -> Point:
    try:
        load()
    except UserError as error:
        return failed(name, error.fact, error.cure)
    words = {None: "from scratch", "hub": "downloaded before, and read"}
    return passed(name, words.get(wanted) or f"{wanted}, read")


def _downloadable(name: str, key: str, hub: str, offline: bool) -> Point:
    """The point for weights that are not on disk: whether the hub answers."""
    cure = f"Set {key} to a file of weights, or to null: from scratch."
    if offline:
        return failed(name, "not downloaded yet, and HF_HUB_OFFLINE is 1", cure)
    if _answers(hub):
        return passed(name, f"not downloaded yet; {hub} answers")
    return failed(name, f"not downloaded yet, and {hub} does not answer", cure)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=NETWORK_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
