"""Imprints beside the classifier: ratios and refusal fitted to val, and what they add."""

from dataclasses import replace

import numpy as np
import pytest

from make import evaluated_project
from make import made_answers as fake
from pillsnap import files
from pillsnap.errors import MachineError
from pillsnap.evaluation import evaluate, imprints
from pillsnap.imprint.reader import Reading
from pillsnap.imprint.weigh import RATIOS
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.recognition import calibration
from pillsnap.stage.log import RunLog

PRINTS = ["AC34", "DE69", "FGKM", "HJNP", "QRTU", "VWXY", "3446", "9943", "PATH", "NKEY"]
CLASSES = fake.class_table().assign(print_front=PRINTS)
TRUE, NOTHING, OTHER = "true", "", "XX666X"


def answers(known: bool, told: str, model=fake.muddled, seed: int = 1):
    """Pills that read their own imprint, nothing, or what no drug has."""
    pills = fake.crop_answers(model, known, seed)
    texts = [PRINTS[index] if told == TRUE else told for index in pills.truth]
    return replace(pills, table=pills.table.assign(imprint=texts))


def both(*parts):
    """The pills of several answers as one."""
    from pandas import concat

    joined = [
        np.concatenate([getattr(p, name) for p in parts]) for name in ("logits", "embeddings")
    ]
    return imprints.CropAnswers(*joined, concat([p.table for p in parts], ignore_index=True))


def test_ratios_are_the_rates_on_the_own_class_by_those_on_other_candidates():
    known = imprints.compared(answers(True, TRUE), CLASSES)
    own = known.columns == known.pills.truth[:, None]
    assert set(known.verdicts[own]) == {"agrees"}
    found = imprints.fit_ratios(known)
    agreed = (known.verdicts[~own] == "agrees").sum() + 1
    expected = (own.sum() + 1) / (own.sum() + 3) / (agreed / ((~own).sum() + 3))
    assert found.agrees == pytest.approx(expected)
    assert found.agrees > 100 > 1 > found.unsure
    assert found.contradicts < 0.01


def test_right_imprints_name_right_what_the_classifier_muddles_and_none_change_nothing():
    val = answers(True, TRUE)
    made, _ = imprints.fitted_to(fake.fitted(val), val, CLASSES)
    section = imprints.section(val, answers(True, NOTHING), made, CLASSES, 17)
    assert section["val"]["top1"] < 0.99 <= section["val"]["top1_with_imprint"]
    assert section["test"]["top1"] == section["test"]["top1_with_imprint"]
    assert section["read"] == 1.0
    shares = section["known"]  # a class beyond the candidates leaves its pill contradicted
    assert 0 <= shares["accepted"] - shares["accepted_and_not_contradicted"] <= 0.01
    assert section["unknown"] == {
        "accepted": None, "accepted_reason": "no such pill was read", "pills": 0,
        "accepted_and_not_contradicted": None,
        "accepted_and_not_contradicted_reason": "no such pill was read",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("unknown", "reads", "refused"),
    [(400, OTHER, True), (29, OTHER, False), (400, NOTHING, False), (0, OTHER, False)],
)
def test_contradicted_pills_are_refused_where_val_shows_that_it_helps(unknown, reads, refused):
    strange = answers(False, reads, fake.guesser, 2)
    keep = np.arange(len(strange)) % len(strange) < unknown
    val = both(answers(True, TRUE), strange.where(keep))
    made, auroc = imprints.fitted_to(fake.fitted(val), val, CLASSES)
    assert made.refuse_contradicted is refused
    if refused:
        assert auroc["score"] < auroc["score_and_contradiction"]
        share = imprints.section(val, strange, made, CLASSES, 17)["unknown"]
        assert share["accepted_and_not_contradicted"] < share["accepted"]
    if not unknown:
        assert auroc == {"score": None, "score_and_contradiction": None}


def test_pills_that_were_not_read_are_left_out():
    val = answers(True, TRUE)
    val.table.loc[np.arange(len(val)) % 4 > 0, "imprint"] = np.nan
    made, _ = imprints.fitted_to(fake.fitted(val), val, CLASSES)
    assert imprints.section(val, val, made, CLASSES, 17)["pills"] == len(val) / 4


def test_ratios_of_a_single_capture_group_are_not_tried_on_itself():
    val = answers(True, TRUE)
    val = val.where(val.groups == val.groups[0])
    made, _ = imprints.fitted_to(fake.fitted(val), val, CLASSES)
    section = imprints.section(val, val, made, CLASSES, 17)
    assert section["val"]["top1_with_imprint"] is None
    assert "one capture group" in section["val"]["top1_with_imprint_reason"]
    assert section["test"]["top1_with_imprint"] is not None


class Blind:
    """A reader of pills without a letter."""

    def read(self, crops):
        return [Reading("", 0.0) for _ in crops]


def test_the_stage_reads_imprints_if_asked_and_keeps_what_val_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluated_project.lay(tmp_path, imprint_pills=5)
    places, log = Places.of(load()), RunLog("evaluate", tmp_path, "ERROR")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="rapidocr is not installed"):
        evaluate.evaluate(load(), log)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "Reader", Blind)
    evaluate.evaluate(load(), log)
    section = files.read_json(places.artifacts_dir / "evaluation.json", "")["imprint"]
    assert (section["pills"], section["read"]) == (5, 0.0)
    kept = calibration.load(
        places.calibration, files.sha256_of(places.checkpoint("classification"))
    )
    assert kept.imprint_ratios is not None
    assert kept.imprint_ratios.unsure == pytest.approx(section["ratios"]["unsure"])
    assert kept.imprint_ratios != RATIOS
