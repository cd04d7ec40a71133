"""What each part of the classifier's recipe brings: trained again without it, or with another.

    python benchmarks/ablation.py [--epochs 9] [--seeds 17 18] [--only NAME ...]

Trains on the chosen scale's crops, everything else equal. For each variant and seed: top-1 on val,
the same of the classes that share shape and colours with another one, AUROC of known against
unknown pills of the test part, the same of the drawn twins of a class (both with the default
refusal score), the share of unknown pills that are accepted and named with a confidence above 0.9,
and top-1 among the unknown codes when 5 photos of each are enrolled by their mean (10 drawings).
Test is looked at here to compare recipes, so a recipe chosen by its columns must not be reported
on it. For another border around the pill set validate.crop_margin, `dvc repro validate`, then
`--only "as it is"`. --drawn FOLDER takes each seed's own tree, prepared in FOLDER/<seed>.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import timm
import torch
from numpy.typing import NDArray
from one_training import Variant, class_count, train_once

from pillsnap.arrays import Pixels
from pillsnap.classification import classifier
from pillsnap.classification.augment import Augmenter
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.demo.backdrops import PHONE
from pillsnap.demo.plan import plan_tree
from pillsnap.evaluation import fit, metrics
from pillsnap.params import Params, load
from pillsnap.places import Places
from pillsnap.recognition import centres, scores
from pillsnap.recognition.centres import Centres
from pillsnap.training import devices

ENROLLED_PHOTOS, DRAWINGS = 5, 10
HUE_DEGREES = 36.0
SURE = 0.9
COLUMNS = ("top-1", "of look-alikes", "AUROC", "of twins", "named surely", "enrolled", "minutes")


@dataclass(frozen=True)
class Changed(Augmenter):
    """An augmenter that does something to the crop first."""

    before: Callable[[Pixels, np.random.Generator], Pixels] = lambda crop, rng: crop

    def __call__(self, crop: Pixels, rng: np.random.Generator) -> Pixels:
        return super().__call__(self.before(crop, rng), rng)


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
    "mirrored": Variant(augmenter=lambda px, recipe: Changed(px, recipe, mirrored)),
    "no rotation": Variant({"rotate_degrees": 0.0}),
    "no average of weights": Variant({"ema_decay": 0.0}),
    "no label smoothing": Variant({"label_smoothing": 0.0}),
    "no box jitter": Variant({"scale": 0.0, "translate": 0.0}),
    "no light": Variant({"brightness": 0.0, "contrast": 0.0, "temperature_shift": 0.0}),
    "no blur, no noise": Variant({"blur": 0.0, "noise": 0.0}),
    f"hue +-{HUE_DEGREES:.0f} degrees": Variant(
        augmenter=lambda px, recipe: Changed(px, recipe, hue_shifted)
    ),
    **{f"{px} px": Variant(scale={"image_px": px}) for px in (64, 96, 128, 160, 224)},
    "drop_path 0.1": Variant(scale={"drop_path": 0.1}),
    "batch 64": Variant(train={"batch_size": 64}),
    "batch 64, rate x 1.41": Variant(train={"batch_size": 64}, scale={"lr": 3e-3 * 2**0.5}),
    "batch 64, rate x 2": Variant(train={"batch_size": 64}, scale={"lr": 6e-3}),
    "batch 16, rate / 1.41": Variant(train={"batch_size": 16}, scale={"lr": 3e-3 / 2**0.5}),
    **{
        name: Variant(scale={"classifier": name})
        for name in ("test_efficientnet", "test_convnext3", "test_byobnet", "test_mambaout")
    },
}


def outputs(
    params: Params, variant: Variant, weights: dict[str, torch.Tensor], split: str
) -> tuple[pd.DataFrame, scores.Outputs]:
    """A split's table, logits and embeddings."""
    store = CropStore(Places.of(params).data_dir / "crops" / f"{split}.arrow")
    name, count = params.at_scale.classifier, class_count(params)
    model = variant.model(timm.create_model(name, num_classes=count))
    model.load_state_dict(weights)
    mean, std = classifier.input_statistics(model)
    config = {"image_px": params.at_scale.image_px, "mean": mean, "std": std}
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


def twins_of(params: Params) -> set[str]:
    """Unknown codes of the drawn tree that look like a class but for the imprint."""
    known = set(manifest.read_classes(Places.of(params).classes)["mapping_code"])
    looks = {
        pill.code: pill.look for one in plan_tree(params.demo, params.seed) for pill in one.pills
    }
    shown = {look for code, look in looks.items() if code in known}
    return {code for code, look in looks.items() if code not in known and look in shown}


def tried(params: Params, variant: Variant, epochs: int) -> tuple[float, ...]:
    """The COLUMNS of a variant."""
    params, begun_s = variant.of(params), time.monotonic()
    places = Places.of(params)
    with tempfile.TemporaryDirectory() as folder:
        crops_dir = places.data_dir / "crops"
        trained = train_once(params, crops_dir, epochs, Path(folder), variant)
    minutes = (time.monotonic() - begun_s) / 60
    table, pills = outputs(params, variant, trained.weights, "train")
    codes = table["mapping_code"].to_numpy(str)
    known = sorted(set(codes[table["known"].to_numpy(bool)]))
    fitted = class_centres(pills, codes, table["direction"].to_numpy(np.int64), known)
    table, val = outputs(params, variant, trained.weights, "val")
    truth = table["class_index"].to_numpy(np.int64)
    right = metrics.ranks(val.logits, truth) == 0
    looks = manifest.read_classes(places.classes)[["drug_shape", "color_class1", "color_class2"]]
    alike = looks.fillna("").duplicated(keep=False).to_numpy()[truth]
    single = (table["image_type"] == "single").to_numpy()
    temperature = fit.fit_temperature(val.logits, truth)
    accepted = scores.score_of(fit.DEFAULT, val, fitted, temperature)[single]
    table, test = outputs(params, variant, trained.weights, "test")
    strange = ~table["known"].to_numpy(bool) & (table["light"] != PHONE).to_numpy()
    unknown = scores.Outputs(test.logits[strange], test.embeddings[strange])
    codes = table["mapping_code"].to_numpy(str)[strange]
    score = scores.score_of(fit.DEFAULT, unknown, fitted, temperature)
    twins = np.isin(codes, sorted(twins_of(params)))
    surely = scores.confidences(unknown.logits, temperature) > SURE
    found = (
        right.mean(),
        metrics.mean(right[alike]),
        metrics.auroc(accepted, score),
        metrics.auroc(accepted, score[twins]),
        (surely & (score >= metrics.threshold_at(accepted, 0.95))).mean(),
        enrolled_top1(unknown, codes, fitted),
        minutes,
    )
    return tuple(float(np.nan if value is None else value) for value in found)


def compare(variants: Mapping[str, Variant], parser: argparse.ArgumentParser) -> None:
    """Print the table of the variants that the command line asks for."""
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18])
    parser.add_argument("--only", nargs="+", choices=variants, default=list(variants))
    parser.add_argument("--drawn", type=Path, help="folder of prepared trees, one per seed")
    parser.add_argument("--repeats", type=int, help="views of each crop per epoch")
    options = parser.parse_args()
    if options.drawn is None:
        params = load()
        of_seed = {
            seed: (Path(), params.model_copy(update={"seed": seed})) for seed in options.seeds
        }
    else:
        folders = [options.drawn.absolute() / str(seed) for seed in options.seeds]
        of_seed = {int(one.name): (one, load(one / "params.yaml")) for one in folders}
    print(f"| variant | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}", flush=True)
    for name in options.only:
        rows = []
        for folder, params in of_seed.values():
            os.chdir(folder)
            if options.repeats:
                params = Variant(scale={"repeats": options.repeats}).of(params)
            rows.append(tried(params, variants[name], options.epochs))
        columns = [
            " / ".join(f"{value:.3f}" for value in column) for column in zip(*rows, strict=True)
        ]
        print(f"| {name} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    compare(VARIANTS, argparse.ArgumentParser(description=__doc__.splitlines()[0]))
