"""Letters and digits on pills, read by PP-OCRv6 of the package `rapidocr` (Apache-2.0).

Only its two ONNX files are used, in onnxruntime: one finds lines of text, one reads a line.
Parameters were chosen on 58 crops of NLM's reference photos, the second scale and the line across
the middle on 39 of Taiwan's FDA (docs/evaluation.md).
"""

import hashlib
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pillsnap import files
from pillsnap.arrays import Array, Floats32, Pixels
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.imprint import contrast
from pillsnap.onnx_session import open_graph

if TYPE_CHECKING:
    import onnxruntime as ort

INSTALL = "pip install --no-deps rapidocr==3.10.0"
FILES = {  # of rapidocr 3.10.0, with their sha256
    "PP-OCRv6_det_small.onnx": "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    "PP-OCRv6_rec_small.onnx": "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VIEW_PX = 320
PILL_SHARES = (0.65, 0.35)  # of the view: small and large letters as the model was trained on
TURNS = (0, 90)  # degrees; each line is read upside down too
MIDDLE = (0.82, 0.5)  # of a pill's width and height: a line, where none is read
VIEWS = tuple(itertools.product(PILL_SHARES, TURNS))
LINE_PX = 48  # height of a line, of the model's input
TEXT_ABOVE, LINE_ABOVE = 0.3, 0.5  # probability of text of a pixel, mean of a line
UNCLIP = 1.6  # a line found is the shrunken core of the text
SURE_ABOVE = 0.75  # confidence of a line that is used
LEAST_SCORE = 0.95  # about one letter read with certainty
BATCH = 8


@dataclass(frozen=True)
class Reading:
    """What is written on one side of a pill: letters and digits, "" if nothing was read."""

    text: str
    confidence: float  # mean of the letters', 0 if nothing was read


@dataclass(frozen=True)
class Line:
    """A line of text found in a view: where, and how it reads upright and upside down."""

    view: int
    centre: Floats32  # x, y
    ways: tuple[Reading, Reading]


def is_installed() -> bool:
    """Whether the OCR models are there."""
    return importlib.util.find_spec("rapidocr") is not None


class Reader:
    """Both models; MachineError if they are not installed, CheckpointError if they are damaged."""

    def __init__(self, num_threads: int = 0) -> None:
        spec = importlib.util.find_spec("rapidocr")
        if spec is None or spec.origin is None:
            raise MachineError("Imprints cannot be read: rapidocr is not installed.", INSTALL)
        folder = Path(spec.origin).parent / "models"
        self._find, self._read = (_session(folder / name, num_threads) for name in FILES)
        known = self._read.get_modelmeta().custom_metadata_map["character"].split("\n")
        used = [
            (at, sign.upper()) for at, sign in enumerate(known, 1) if sign.upper() in {*LETTERS}
        ]
        self._columns = [0, *(at for at, _ in used)]  # of the output; 0: no letter
        self._signs = ["", *(sign for _, sign in used)]

    def read(self, crops: Sequence[Pixels]) -> list[Reading]:
        """The imprint of each crop, uint8 RGB [h, w, 3] of any size, the pill at any angle."""
        return [self._one(crop) for crop in crops]

    def _one(self, crop: Pixels) -> Reading:
        grey = contrast.even(crop)
        views = np.stack([_turned(grey, *view) for view in VIEWS])
        batch = np.repeat(_scaled(views)[:, None], 3, axis=1)
        maps = self._find.run(None, {"x": batch})[0][:, 0]
        found = [(view, box) for view in range(len(VIEWS)) for box in _lines(maps[view])]
        middle = [(view, _middle(grey.shape, *VIEWS[view])) for view in range(len(TURNS))]
        return self._best(views, found) or self._best(views, middle) or Reading("", 0.0)

    def _best(self, views: Array, found: Sequence[tuple[int, Floats32]]) -> Reading | None:
        """The best reading of lines at boxes [4, 2] in views; None if its score is too low."""
        strips = [_strip(views[view], box) for view, box in found]
        ways = self._ways([way for strip in strips for way in (strip, strip[::-1, ::-1])])
        pairs = zip(ways[::2], ways[1::2], strict=True)
        lines = [
            Line(view, box.mean(axis=0), pair)
            for (view, box), pair in zip(found, pairs, strict=True)
        ]
        return max(_whole(lines), key=lambda each: each[0], default=(0.0, None))[1]

    def _ways(self, strips: Sequence[Array]) -> list[Reading]:
        """A reading of each strip; strips of like width share a batch."""
        order = sorted(range(len(strips)), key=lambda at: strips[at].shape[1])
        readings: dict[int, Reading] = {}
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            width = max(strips[at].shape[1] for at in part)
            batch = np.zeros((len(part), 3, LINE_PX, width), np.float32)
            for row, at in enumerate(part):
                batch[row, :, :, : strips[at].shape[1]] = _scaled(strips[at])
            outputs = self._read.run(None, {"x": batch})[0][:, :, self._columns]
            readings.update(zip(part, map(self._decoded, outputs), strict=True))
        return [readings[at] for at in range(len(strips))]

    def _decoded(self, output: Floats32) -> Reading:
        """CTC: the best sign at each place, repeats and gaps dropped."""
        best, share = output.argmax(axis=1), output.max(axis=1)
        kept = (best > 0) & (best != np.concatenate([[0], best[:-1]]))
        text = "".join(self._signs[at] for at in best[kept])
        return Reading(text, float(share[kept].mean()) if text else 0.0)


def _session(path: Path, num_threads: int) -> "ort.InferenceSession":
    with files.opened(path, INSTALL, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != FILES[path.name]:
        cure = f"Install it again: {INSTALL} --force-reinstall"
        raise CheckpointError(f"{path} is not the file of rapidocr 3.10.0.", cure)
    return open_graph(content, num_threads)


def _scaled(grey: Array) -> Floats32:
    """Grey levels as the models take them: -1 to 1."""
    return np.asarray(grey / 127.5 - 1, np.float32)


def _turned(grey: Array, pill_share: float, turn: int) -> Array:
    """The crop turned and scaled into the middle of a square view."""
    height, width = grey.shape
    scale = VIEW_PX * pill_share / max(height, width)
    turning = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    turning[:, 2] += VIEW_PX / 2 - np.array([width / 2, height / 2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size, grey_px = (VIEW_PX, VIEW_PX), contrast.GREY
    return np.asarray(cv2.warpAffine(grey, turning, size, flags=way, borderValue=grey_px))


def _middle(shape: tuple[int, ...], pill_share: float, turn: int) -> Floats32:
    """Corners [4, 2] of a line across the pill: large letters are found as a block, not a line."""
    height, width = shape[::-1] if turn else shape
    scale = VIEW_PX * pill_share / max(shape)
    size = width * scale * MIDDLE[0], min(height, width) * scale * MIDDLE[1]
    return np.asarray(cv2.boxPoints(((VIEW_PX / 2, VIEW_PX / 2), size, 0)), np.float32)


def _lines(probability: Floats32) -> Iterator[Floats32]:
    """Corners [4, 2] of the rectangles, at any angle, that hold a line of text."""
    core = (probability > TEXT_ABOVE).astype(np.uint8)
    for outline in cv2.findContours(core, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        centre, (width, height), angle = cv2.minAreaRect(outline)
        region = np.zeros_like(core)
        cv2.fillPoly(region, [outline], 1)
        if min(width, height) >= 3 and probability[region > 0].mean() >= LINE_ABOVE:
            more = width * height * UNCLIP / (width + height)
            yield cv2.boxPoints((centre, (width + more, height + more), angle))


def _strip(view: Array, box: Floats32) -> Array:
    """The line in a box cut out upright, LINE_PX high, its left end on the left."""
    if np.linalg.norm(box[1] - box[0]) < np.linalg.norm(box[2] - box[1]):
        box = np.roll(box, -1, axis=0)
    if box[1, 0] < box[0, 0]:
        box = np.roll(box, 2, axis=0)
    (right, down), (side, below) = box[1] - box[0], box[3] - box[0]
    if right * below - down * side < 0:  # anticlockwise
        box = box[[3, 2, 1, 0]]
    long, high = (float(np.linalg.norm(box[at] - box[0])) for at in (1, 3))
    width = max(LINE_PX, int(LINE_PX * long / max(high, 1)))
    corners = np.array([[0, 0], [width, 0], [width, LINE_PX], [0, LINE_PX]], np.float32)
    way = cv2.getPerspectiveTransform(box.astype(np.float32), corners)
    size, flags = (width, LINE_PX), cv2.INTER_CUBIC
    return np.asarray(
        cv2.warpPerspective(view, way, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )


def _whole(lines: Sequence[Line]) -> Iterator[tuple[float, Reading]]:
    """The lines of each view put together, upright and upside down, with a score."""
    for view in range(len(VIEWS)):
        for upside_down in (False, True):
            used = [
                (-line.centre if upside_down else line.centre, line.ways[upside_down])
                for line in lines
                if line.view == view and line.ways[upside_down].confidence > SURE_ABOVE
            ]
            used.sort(key=lambda each: (round(float(each[0][1]) / 20), float(each[0][0])))
            weights = [len(way.text) * (way.confidence - SURE_ABOVE) for _, way in used]
            score = sum(weights) / (1 - SURE_ABOVE)
            text = "".join(way.text for _, way in used)
            if score >= LEAST_SCORE:
                letters = sum(len(way.text) * way.confidence for _, way in used)
                yield score, Reading(_once(text), letters / len(text))


def _once(text: str) -> str:
    """A text without its repetition: capsules carry the imprint on both halves."""
    half = len(text) // 2
    return text[:half] if half >= 2 and text[:half] * 2 == text else text
