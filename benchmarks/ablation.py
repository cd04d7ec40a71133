"""What each part of the classifier's recipe brings: trained again without it, or with another.

    python benchmarks/ablation.py [--epochs 9] [--seeds 17 18] [--only NAME ...]

Trains on the chosen scale's crops, everything else equal: top-1 on val, AUROC of known against
unknown pills of the test part (the best of the refusal scores), and top-1 among the unknown codes
when 5 photos of each are enrolled by their mean (10 drawings). Test is looked at here to compare
recipes, so a recipe chosen by its columns must not be reported on it. For another border around
the pill set validate.crop_margin, `dvc repro validate`, then `--only "as it is"`.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import timm
import torch
from numpy.typing import NDArray
from one_training import class_count, train_once

from pillsnap.arrays import Pixels
from pillsnap.classification import classifier
from pillsnap.classification.augment import Augmenter
from pillsnap.dataset.crops import CropStore
from pillsnap.evaluation import metrics
from pillsnap.params import Params, load
from pillsnap.places import Places
from pillsnap.recognition import centres, scores
from pillsnap.recognition.centres import Centres
from pillsnap.training import devices

ENROLLED_PHOTOS, DRAWINGS = 5, 10
HUE_DEGREES = 36.0


@dataclass(frozen=True)
class Changed(Augmenter):
    """An augmenter that does something to the crop first."""

    before: Callable[[Pixels, np.random.Generator], Pixels] = lambda crop, rng: crop

    def __call__(self, crop: Pixels, rng: np.random.Generator) -> Pixels:
        return super().__call__(self.before(crop, rng), rng)


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe."""

    recipe: dict[str, Any] = field(default_factory=dict)
    image_px: int | None = None
    before: Callable[[Pixels, np.random.Generator], Pixels] | None = None


def mirrored(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """Left and right exchanged, every other time."""
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def hue_shifted(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """Another hue by up to HUE_DEGREES."""
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    steps = round(rng.uniform(-HUE_DEGREES, HUE_DEGREES) / 2)  # OpenCV's hue has 180 steps
    hsv[..., 0] = (hsv[..., 0].astype(int) + steps) % 180
    picture: Pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return picture


VARIANTS = {
    "as it is": Variant(),
    "mirrored": Variant(before=mirrored),
    "no rotation": Variant({"rotate_degrees": 0.0}),
    "no average of weights": Variant({"ema_decay": 0.0}),
    "no label smoothing": Variant({"label_smoothing": 0.0}),
    "no box jitter": Variant({"scale": 0.0, "translate": 0.0}),
    "no light": Variant({"brightness": 0.0, "contrast": 0.0, "temperature_shift": 0.0}),
    "no blur, no noise": Variant({"blur": 0.0, "noise": 0.0}),
    f"hue +-{HUE_DEGREES:.0f} degrees": Variant(before=hue_shifted),
    "128 px": Variant(image_px=128),
    "64 px": Variant(image_px=64),
}


def outputs(
    params: Params, image_px: int, weights: dict[str, torch.Tensor], split: str
) -> tuple[pd.DataFrame, scores.Outputs]:
    """A split's table, logits and embeddings."""
    store = CropStore(Places.of(params).data_dir / "crops" / f"{split}.arrow")
    model = timm.create_model(params.at_scale.classifier, num_classes=class_count(params))
    model.load_state_dict(weights)
    mean, std = classifier.input_statistics(model)
    config = {"image_px": image_px, "mean": mean, "std": std}
    namer = classifier.TorchClassifier(model, config, devices.choose(params.train.device))
    crops = np.stack([store.decode(row) for row in range(len(store))])
    parts = [namer.classify(crops[i : i + 64]) for i in range(0, len(crops), 64)]
    logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
    return store.table, scores.Outputs(logits, embeddings)


def class_centres(
    pills: scores.Outputs, codes: NDArray[Any], side: NDArray[np.int64], names: list[str]
) -> Centres:
    """Centres of both sides of each code."""
    number = {name: index for index, name in enumerate(names)}
    rows = np.flatnonzero(np.isin(codes, names))
    truth, found = np.array([number[code] for code in codes[rows]]), pills.embeddings[rows]
    sums, counts = np.zeros((len(names), centres.SIDES, found.shape[1])), np.zeros((len(names), 2))
    np.add.at(sums, (truth, side[rows]), found)
    np.add.at(counts, (truth, side[rows]), 1)
    return centres.fitted(sums, counts, found.T.astype(np.float64) @ found)


def unknown_auroc(known: scores.Outputs, unknown: scores.Outputs, fitted: Centres) -> float:
    """Of the score that tells them apart best, at temperature 1."""
    found = [
        metrics.auroc(*(scores.score_of(score, side, fitted, 1.0) for side in (known, unknown)))
        for score in scores.SCORES
    ]
    return max(value for value in found if value is not None)


def enrolled_top1(unknown: scores.Outputs, codes: NDArray[Any], fitted: Centres) -> float:
    """Share of unknown pills most like their own code's mean of a few photos, of all classes."""
    names, right, asked = sorted(set(codes)), 0, 0
    for drawing in range(DRAWINGS):
        order = np.random.default_rng(drawing).permutation(len(codes))
        used = np.concatenate([order[codes[order] == name][:ENROLLED_PHOTOS] for name in names])
        enrolled = [unknown.embeddings[used[codes[used] == name]].mean(axis=0) for name in names]
        both = centres.normalised(np.stack([enrolled, enrolled], axis=1))
        rest = np.setdiff1d(np.arange(len(codes)), used)
        likeness = fitted.joined(both).likeness(unknown.embeddings[rest])
        named = np.array([*[""] * len(fitted), *names])[likeness.argmax(axis=1)]
        right, asked = right + int((named == codes[rest]).sum()), asked + len(rest)
    return right / asked


def tried(params: Params, variant: Variant, epochs: int) -> tuple[float, float, float]:
    """Top-1 on val, AUROC of the unknown, top-1 of the enrolled."""
    recipe = params.train_classification.model_copy(update=variant.recipe)
    params = params.model_copy(update={"train_classification": recipe})
    image_px = variant.image_px or params.at_scale.image_px
    augmenter = Augmenter(image_px, recipe)
    if variant.before is not None:
        augmenter = Changed(image_px, recipe, variant.before)
    crops_dir = Places.of(params).data_dir / "crops"
    with tempfile.TemporaryDirectory() as folder:
        trained = train_once(params, crops_dir, augmenter, epochs, Path(folder))
    table, pills = outputs(params, image_px, trained.weights, "train")
    codes = table["mapping_code"].to_numpy(str)
    known = sorted(set(codes[table["known"].to_numpy(bool)]))
    fitted = class_centres(pills, codes, table["direction"].to_numpy(np.int64), known)
    _, val = outputs(params, image_px, trained.weights, "val")
    table, test = outputs(params, image_px, trained.weights, "test")
    strange = ~table["known"].to_numpy(bool)
    unknown = scores.Outputs(test.logits[strange], test.embeddings[strange])
    codes = table["mapping_code"].to_numpy(str)[strange]
    return (
        trained.metrics["top1"],
        unknown_auroc(val, unknown, fitted),
        enrolled_top1(unknown, codes, fitted),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    params = load()
    print("| recipe | top-1 | unknown AUROC | enrolled top-1 |\n|---|---|---|---|")
    for name in options.only:
        found = [
            tried(params.model_copy(update={"seed": seed}), VARIANTS[name], options.epochs)
            for seed in options.seeds
        ]
        columns = [
            " / ".join(f"{value:.3f}" for value in column) for column in zip(*found, strict=True)
        ]
        print(f"| {name} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
