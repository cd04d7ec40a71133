"""The section `imprint` of evaluation.json: what imprints add to the classifier.

The ratios that weigh a verdict, and whether a contradicted pill is refused, are fitted to val. The
crops of the labels' boxes are read; pills that were not drawn have no text (NaN).
"""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from pillsnap.arrays import Array, Bools, Ints
from pillsnap.dataset.crops import CropStore
from pillsnap.evaluation import fit, intervals, metrics
from pillsnap.evaluation.answers import CropAnswers
from pillsnap.evaluation.sections import explained
from pillsnap.files import Json
from pillsnap.imprint import compare, spelling, weigh
from pillsnap.imprint.reader import Reader
from pillsnap.imprint.weigh import RATIOS, Ratios
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.stage.log import RunLog

VERDICTS = tuple(field.name for field in fields(Ratios))
TEXT = "imprint"  # column of the answers' table


@dataclass(frozen=True)
class Compared:
    """Pills that were read, their likeliest classes and the verdicts on these, all [n, k]."""

    pills: CropAnswers
    columns: Ints
    verdicts: Array

    def best(self, fitted: Calibration, ratios: Ratios) -> tuple[Ints, Bools]:
        """The likeliest class of each pill with its imprint, [n], and whether it contradicts."""
        every = scores.probabilities(self.pills.logits, fitted.temperature)
        chances = np.take_along_axis(every, self.columns, axis=1)
        first = weigh.weighed(chances, self.verdicts, ratios).argmax(axis=1)[:, None]
        best, verdict = (
            np.take_along_axis(found, first, axis=1)[:, 0]
            for found in (self.columns, self.verdicts)
        )
        return best, verdict == "contradicts"


def read(
    reader: Reader, store: CropStore, answers: CropAnswers, most: int, seed: int, log: RunLog
) -> CropAnswers:
    """The answers on all crops of a store with the text of at most `most` pills, drawn by seed."""
    drawn = np.random.default_rng(seed).permutation(len(store))[:most]
    texts: list[str | float] = [np.nan] * len(store)
    for count, at in enumerate(np.sort(drawn).tolist(), start=1):
        texts[at] = reader.read([store.decode(at)])[0].text
        log.progress(count, len(drawn))
    return replace(answers, table=answers.table.assign(**{TEXT: texts}))


def compared(answers: CropAnswers, classes: pd.DataFrame) -> Compared:
    """The pills with a text, and how it compares with the records of their likeliest classes."""
    pills = answers.where(answers.table[TEXT].notna().to_numpy())
    columns = np.argsort(-pills.logits, axis=1, kind="stable")[:, : weigh.CANDIDATES].astype(
        np.int64
    )
    prints = classes[["print_front", "print_back"]].to_numpy(str)
    rows = [
        [compare.verdict(text, *prints[index]) for index in row]
        for text, row in zip(pills.table[TEXT], columns, strict=True)
    ]
    return Compared(pills, columns, np.array(rows, dtype=str).reshape(columns.shape))


def fit_ratios(known: Compared) -> Ratios:
    """P(verdict | its class) / P(verdict | another candidate), a pill added to each count."""
    own = known.columns == known.pills.truth[:, None]
    rates = [
        np.array([(known.verdicts[which] == verdict).sum() + 1 for verdict in VERDICTS])
        / (which.sum() + len(VERDICTS))
        for which in (own, ~own)
    ]
    return Ratios(*(rates[0] / rates[1]).tolist())


def fitted_to(
    fitted: Calibration, val: CropAnswers, classes: pd.DataFrame
) -> tuple[Calibration, dict[str, float | None]]:
    """With the ratios of val; and, if val has enough unknown pills, contradicted pills are refused
    where that separates them better. AUROC without and with that."""
    known, unknown = (compared(val.known(is_known), classes) for is_known in (True, False))
    ratios = fit_ratios(known)
    sides = [_score(side, fitted, ratios) for side in (known, unknown)]
    auroc = {
        "score": metrics.auroc(*(score for score, _ in sides)),
        "score_and_contradiction": metrics.auroc(*(refused for _, refused in sides)),
    }
    enough = len(unknown.pills) >= fit.ENOUGH and len(known.pills) > 0
    better = (auroc["score_and_contradiction"] or 0.0) > (auroc["score"] or 0.0)
    return replace(fitted, imprint_ratios=ratios, refuse_contradicted=enough and better), auroc


def section(
    val: CropAnswers, test: CropAnswers, fitted: Calibration, classes: pd.DataFrame, seed: int
) -> Json:
    """What the imprints say of known and unknown pills; top-1 of val by the ratios of the other
    half of its capture groups."""
    known = compared(val.known(), classes)
    own = known.columns == known.pills.truth[:, None]
    letters = [
        len(spelling.plain(text)) >= compare.LEAST_LETTERS for text in known.pills.table[TEXT]
    ]
    ratios = fitted.imprint_ratios or RATIOS
    tested = compared(test.known(), classes)
    return {
        "pills": len(known.pills),
        "read": metrics.mean(np.array(letters)),
        "verdicts": {
            name: {v: metrics.mean(known.verdicts[which] == v) for v in VERDICTS}
            for name, which in (("own", own), ("other_candidates", ~own))
        },
        "ratios": asdict(ratios),
        "refuse_contradicted": fitted.refuse_contradicted,
        "val": _top1(known, _cross_fitted(known, fitted, seed)),
        "test": _top1(tested, tested.best(fitted, ratios)[0]),
        "known": _accepted(known, fitted, ratios),
        "unknown": _accepted(
            compared(test.known(False).of_type("single"), classes), fitted, ratios
        ),
    }


def _cross_fitted(known: Compared, fitted: Calibration, seed: int) -> Ints | None:
    """The likeliest class of each pill by the ratios of the other half of the capture groups."""
    half, best = fit.halves(known.pills.groups, seed), np.empty(len(known.pills), np.int64)
    for here in () if half is None else (half == 0, half == 1):
        others = fit_ratios(_where(known, ~here))
        best[here] = _where(known, here).best(fitted, others)[0]
    return None if half is None else best


def _where(some: Compared, keep: Bools) -> Compared:
    return Compared(some.pills.where(keep), some.columns[keep], some.verdicts[keep])


def _score(some: Compared, fitted: Calibration, ratios: Ratios) -> tuple[Array, Array]:
    """The refusal score of each pill; the same with contradicted pills below all others."""
    score = fitted.refusal_score(some.pills)
    return score, np.where(some.best(fitted, ratios)[1], -np.inf, score)


def _top1(some: Compared, best: Ints | None) -> Json:
    """Top-1 of the classifier, and with the imprints, by which `best` are the likeliest classes."""
    truth, groups = some.pills.truth, some.pills.groups
    right = {"top1": some.columns[:, 0] == truth}
    if best is not None:
        right["top1_with_imprint"] = best == truth
    values = {name: metrics.mean(hits) for name, hits in right.items()}
    ones = np.ones(len(truth))
    return {
        **explained(
            {"top1_with_imprint": None, **values}, "no pill, or one capture group, was read"
        ),
        "pills": len(truth),
        "ci": {name: intervals.ratio(hits, ones, groups) for name, hits in right.items()},
    }


def _accepted(some: Compared, fitted: Calibration, ratios: Ratios) -> Json:
    """Share of pills over the threshold, and of those whose imprint does not contradict either."""
    shares = {
        name: metrics.mean(score >= fitted.threshold)
        for name, score in zip(
            ("accepted", "accepted_and_not_contradicted"), _score(some, fitted, ratios), strict=True
        )
    }
    return {**explained(shares, "no such pill was read"), "pills": len(some.pills)}
