"""Two photos of one pill, one of each side: one answer out of both."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pillsnap.errors import DataError, UsageError
from pillsnap.imprint import compare
from pillsnap.prediction import output, predict
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.recognition import name_sets
from pillsnap.recognition.recogniser import Pill, PillImprint

LEAST = 1e-9  # probability of a class, so that one side alone cannot exclude it


def check(pair: bool, paths: Sequence[Path], annotate_dir: Path | None) -> None:
    """UsageError for arguments that a pair cannot have."""
    if pair and (len(paths) != 2 or annotate_dir):
        more = " and --annotate" if annotate_dir else ""
        cure = "Give two photos, one of each side; --annotate is for single photos."
        raise UsageError(f"--pair was given {len(paths)} photos{more}.", cure)


def print_pair(
    loaded: Loaded, paths: Sequence[Path], top: int, codes: Sequence[str] | None, form: str
) -> int:
    """Recognise the pill of two photos and print it in a form of output.write; 0."""
    answers = list(predict.recognise(loaded, paths, classes_of(loaded), codes))
    pill = of(loaded, answers, top)
    output.write(form, [Answer(" + ".join(map(str, paths)), [pill], None)], sys.stdout)
    return 0


def classes_of(loaded: Loaded) -> int:
    """How many candidates each answer must have: all classes."""
    return len(loaded.recogniser.classes)


def of(loaded: Loaded, answers: Sequence[Answer], top: int) -> Pill:
    """The pill of two answers with all classes as candidates; UserError unless each has one pill.

    The sides are taken as independent: probabilities are multiplied. The refusal score is the mean.
    """
    for answer in answers:
        if answer.error is not None:
            raise answer.error
        if len(answer.pills) != 1:
            fact = f"{answer.path} shows {len(answer.pills)} pills; a pair is of one."
            raise DataError(fact, "Photograph the pill alone, or give crops of it with --single.")
    first, second = (answer.pills[0] for answer in answers)
    fitted, classes = loaded.recogniser.calibration, loaded.recogniser.classes
    others = {each.code: each.probability for each in second.candidates}
    joint = np.array(
        [max(c.probability, LEAST) * max(others[c.code], LEAST) for c in first.candidates]
    )
    joint /= joint.sum()
    order = np.argsort(-joint, kind="stable")
    ranked = [replace(first.candidates[at], probability=float(joint[at])) for at in order]
    inside = name_sets.members(joint[None, order], fitted.set_probability)[0]
    row = classes[classes["mapping_code"] == ranked[0].code].iloc[0]
    known_score = (first.known_score + second.known_score) / 2
    read = [pill.imprint for pill in (first, second) if pill.imprint is not None]
    imprint = _imprint(read, row["print_front"], row["print_back"]) if read else None
    contradicted = imprint is not None and imprint.verdict == "contradicts"
    known = known_score >= fitted.threshold and not (fitted.refuse_contradicted and contradicted)
    edi_codes = tuple(filter(None, str(row["edi_codes"]).split("|")))
    return replace(
        first,
        known=known,
        code=ranked[0].code if known else None,
        drug_name=ranked[0].drug_name if known else None,
        edi_codes=edi_codes if known else (),
        confidence=ranked[0].probability,
        box_confidence=min(first.box_confidence, second.box_confidence),
        candidates=tuple(ranked[:top]),
        names=tuple(c.code for c, is_in in zip(ranked, inside, strict=True) if is_in and known),
        known_score=known_score,
        name_score=(first.name_score + second.name_score) / 2,
        imprint=imprint,
    )


def _imprint(read: Sequence[PillImprint], front: str, back: str) -> PillImprint:
    """Both readings, compared with the drug that both sides give."""
    verdicts = {compare.verdict(each.text, front, back) for each in read}
    worst = next(word for word in ("contradicts", "agrees", "unsure") if word in verdicts)
    text = " / ".join(each.text for each in read if each.text)
    fits = tuple(dict.fromkeys(drug for each in read for drug in each.candidates))
    return PillImprint(text, min(each.confidence for each in read), worst, fits)
