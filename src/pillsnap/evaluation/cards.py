"""Montages of crops: the most frequent confusions, and unknown pills next to the nearest class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from pillsnap.arrays import Ints, Pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.evaluation import breakdown, montage
from pillsnap.evaluation.answers import Answers, CropAnswers
from pillsnap.evaluation.montage import EMPTY, GAP_PX, INK, LINE_PX, PALE, PAPER, font
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.certainty import percent

PICTURE_PX = 132
CARDS = 12  # as many as one screen holds


def confusions(
    val: CropAnswers, fitted: Calibration, classes: pd.DataFrame, store: CropStore
) -> list[Image.Image]:
    """The most frequent confusions: the pill, its own class, the predicted class."""
    rows = np.flatnonzero(val.table["known"].to_numpy(dtype=bool))
    known = val.known()
    truth, predicted = known.truth, known.logits.argmax(axis=1)
    confidence = scores.confidences(known.logits, fitted.temperature)
    side = known.table["direction"].to_numpy()
    cards = []
    pairs = breakdown.confusions(truth, predicted, confidence).head(CARDS)
    for true, taken_for, count, worst in pairs.itertuples(index=False):
        examples = [_example(truth, predicted, side, i, worst) for i in (true, taken_for)]
        own, other = (None if row is None else store.decode(int(rows[row])) for row in examples)
        pill = (store.decode(int(rows[worst])), f"confidence {percent(confidence[worst])}")
        lines = (
            f"true {label(classes, true)}",
            f"predicted {label(classes, taken_for)}",
            f"{count} of {(truth == true).sum()} pills",
        )
        cards.append(card((pill, (own, "true class"), (other, "predicted class")), lines))
    return cards


def unknown(
    answered: Answers, fitted: Calibration, classes: pd.DataFrame, stores: dict[str, CropStore]
) -> list[Image.Image]:
    """Unknown pills of test, one of each code: half of the cards the accepted ones of the highest
    scores, the others the refused ones of the lowest; each with the nearest class."""
    rows = np.flatnonzero(~answered.test.table["known"].to_numpy(dtype=bool))
    pills = answered.test.known(False)
    codes, score = pills.codes, fitted.refusal_score(pills)
    order = np.argsort(-score, kind="stable")
    passed = score[order] >= fitted.threshold
    accepted = montage.first_of_each(order[passed], codes)[: CARDS // 2]
    refused = montage.first_of_each(order[~passed][::-1], codes)[: CARDS - len(accepted)]
    truth = answered.val.truth
    cards = []
    for row in [*accepted, *refused]:
        near = int(pills.logits[row].argmax())
        example = next(iter(np.flatnonzero(truth == near)), None)
        like = None if example is None else stores["val"].decode(int(example))
        verdict = "accepted" if score[row] >= fitted.threshold else "refused"
        pill = (stores["test"].decode(int(rows[row])), verdict)
        lines = (
            f"unknown {codes[row]}",
            f"nearest {label(classes, near)}",
            f"score {score[row]:.3f}, threshold {fitted.threshold:.3f}",
        )
        cards.append(card((pill, (like, "nearest class")), lines))
    return cards


def label(classes: pd.DataFrame, index: int) -> str:
    """Code, name and imprints of a class."""
    row = classes.iloc[index]
    imprints = " / ".join(str(row[key]) or "–" for key in ("print_front", "print_back"))
    return f"{row['mapping_code']} {row['drug_name']} [{imprints}]"


def sheet(cards: Sequence[Image.Image], nothing: str) -> Image.Image:
    """Cards in rows of three; without any, a sheet that says why."""
    return montage.grid(cards, 3, GAP_PX) if cards else montage.notice(nothing)


def card(pictures: Sequence[tuple[Pixels | None, str]], lines: Sequence[str]) -> Image.Image:
    """Pictures in a row, each under its caption, and lines of text below."""
    width = 3 * (PICTURE_PX + GAP_PX)
    height = LINE_PX + PICTURE_PX + 6 + LINE_PX * len(lines)
    drawn = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(drawn)
    for index, (pixels, caption) in enumerate(pictures):
        left = index * (PICTURE_PX + GAP_PX)
        pen.text((left, 0), caption, fill=PALE, font=font(13))
        pen.rectangle((left, LINE_PX, left + PICTURE_PX, LINE_PX + PICTURE_PX), fill=EMPTY)
        if pixels is not None:
            square = Image.fromarray(pixels).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX)
            drawn.paste(square, (left, LINE_PX))
    for row, line in enumerate(lines, 1):
        line = montage.fitting(line, font(14), width)
        pen.text((0, PICTURE_PX + 6 + row * LINE_PX), line, fill=INK, font=font(14))
    return drawn


def _example(truth: Ints, predicted: Ints, side: Ints, index: int, but: int) -> int | None:
    """A pill of a class, preferably classified right and seen from the same side as pill `but`."""
    of_class = np.flatnonzero((truth == index) & (np.arange(len(truth)) != but))
    if not len(of_class):
        return None
    worth = 2 * (side[of_class] == side[but]) + (predicted[of_class] == index)
    return int(of_class[np.argmax(worth)])
