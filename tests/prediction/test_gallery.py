from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from make.drawn_models import GREEN, RED, STRANGE, frame, recogniser
from pillsnap import files
from pillsnap.errors import CheckpointError, DataError
from pillsnap.prediction import enrolment
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import EnrolledPhoto, Entry, Gallery
from pillsnap.recognition.recogniser import Recogniser

CODE = "K-123456"
EMPTY = Gallery("sha", 0, ())
LIMIT = 200_000


def photos(folder, *colours):
    paths = [folder / f"{i}.png" for i in range(len(colours))]
    for i, (path, colour) in enumerate(zip(paths, colours, strict=True)):
        Image.fromarray(frame((20 + i, 30, 60, colour))).save(path)
    return paths


def enrol(images, gallery=EMPTY, code=CODE, name="새약정 5mg", twin=False):
    drug = Entry(code, name, ("777",), ())
    return enrolment.enrol(recogniser(), gallery, drug, images, LIMIT, twin)


def enrolled(folder, *colours, **changes):
    return enrol(photos(folder, *colours), **changes)


def test_an_enrolled_drug_is_recognised_that_was_refused_before_and_trained_ones_stay(
    tmp_path,
) -> None:
    unknown = frame((40, 50, 70, STRANGE))
    before = recogniser().recognise([unknown], top=1)[0][0]
    tool = enrolment.with_gallery(recogniser(), enrolled(tmp_path, STRANGE, STRANGE))
    assert before.code is None
    for codes in (None, [CODE]):
        after = tool.recognise([unknown], top=3, codes=codes)[0][0]
        assert (after.code, after.drug_name, after.edi_codes) == (CODE, "새약정 5mg", ("777",))
    pair = frame((20, 30, 60, RED), (150, 40, 50, GREEN))
    assert [pill.code for pill in tool.recognise([pair], top=1)[0]] == ["K-000000", "K-000001"]


def test_photos_of_several_pills_or_none_are_listed_and_codes_that_are_not_new_refused(
    tmp_path,
) -> None:
    paths = photos(tmp_path, STRANGE)
    for name, pills in {"none": (), "two": ((20, 30, 60, RED), (150, 40, 50, RED))}.items():
        Image.fromarray(frame(*pills)).save(tmp_path / f"{name}.png")
        paths.append(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"none\.png: 0 pills found(.|\n)*two\.png: 2 pills"):
        enrol(paths)
    for code, words in {"K-000000": "trained class already", "aspirin": "not a K-code"}.items():
        with pytest.raises(DataError, match=words):
            enrol(paths[:1], code=code)


def test_a_look_alike_of_a_trained_or_an_enrolled_drug_is_refused_unless_asked_for(
    tmp_path,
) -> None:
    colours = (RED, RED, GREEN)  # as like the trained red as each other, and a back alone
    with pytest.raises(
        DataError, match=r"2 of 3 photos look more like K-000000 than like each other"
    ):
        enrolled(tmp_path, *colours)
    assert enrolled(tmp_path, *colours, twin=True).codes == [CODE]
    first = enrolled(tmp_path, STRANGE)
    pair = ((250, 90, 200), (200, 90, 250))  # one to either side of STRANGE
    paths = photos(tmp_path, *pair, GREEN)
    with pytest.raises(DataError, match=rf"2 of 3 photos look more like {CODE} than"):
        enrol(paths, first, code="K-000777")


def test_a_photo_enrolled_twice_counts_once_and_the_version_rises(tmp_path) -> None:
    first = enrolled(tmp_path, STRANGE)
    second = enrol(photos(tmp_path, STRANGE, STRANGE), first, name="")
    [entry] = second.entries
    assert (first.version, second.version) == (1, 2)
    assert (entry.code, entry.drug_name, len(entry.photos)) == (CODE, "새약정 5mg", 2)
    again = enrol(photos(tmp_path, STRANGE, STRANGE), second, name="")
    assert again.version == 2  # the same command changes nothing
    left = galleries.without(second, CODE)
    assert (left.codes, left.version) == ([], 3)
    with pytest.raises(DataError, match="is not enrolled; the gallery holds nothing"):
        galleries.without(left, CODE)


@pytest.fixture
def path(tmp_path) -> Path:
    """A saved gallery."""
    rows = np.repeat(np.eye(2, 8, dtype=np.float32)[:, None], galleries.ANGLES, axis=1)
    pictures = tuple(EnrolledPhoto(f"{i}.png", f"{i}" * 64, row) for i, row in enumerate(rows))
    made = Gallery("sha", 3, (Entry(CODE, "새약정", ("777",), pictures),))
    galleries.save(tmp_path / "g.json", made)
    return tmp_path / "g.json"


def test_a_gallery_comes_back_as_it_was_saved_unless_it_was_changed(path) -> None:
    read = galleries.load(path, "sha", 8)
    assert (read.version, read.codes) == (3, [CODE])
    assert read.means == pytest.approx(np.eye(2, 8)[None])  # two photos, a side each
    assert read.entries[0].edi_codes == ("777",)
    content = path.read_bytes()
    galleries.save(path, read)
    assert path.read_bytes() == content
    assert galleries.load(path.with_name("none.json"), "sha", 8) == EMPTY
    with pytest.raises(CheckpointError, match="another classifier"):
        galleries.load(path, "other", 8)
    path.write_text(path.read_text("utf-8").replace("새약정", "헌약정"), "utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        galleries.load(path, "sha", 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree.pop("version"), "version: Field required"),
        (lambda tree: tree["entries"][0].pop("code"), r"entries\.0\.code: Field required"),
        (lambda tree: tree["entries"][0].update(photos=[]), r"photos: .*at least 1"),
        (lambda tree: tree["entries"][0]["photos"][0].update(turned="AAA"), r"0\.turned"),
        (lambda tree: tree["entries"][0]["photos"][0].update(turned=[1.0]), r"0\.turned"),
        (lambda tree: tree["entries"][0]["photos"][0].update(turned="AAA="), r"0\.turned"),
        (lambda tree: tree["entries"][0]["photos"][0].update(turned="AHwA" * 4), "not finite"),
        (lambda tree: tree.update(entries={}), "entries: "),
        (lambda tree: tree.update(format=2), "another format"),
        (lambda tree: tree["entries"][0]["photos"][0].update(turned="AAAA" * 8), "have 8"),
    ],
)
def test_a_sealed_file_of_another_shape_is_refused(path, change, words: str) -> None:
    tree = files.read_sealed_json(path, "")
    change(tree)
    files.write_sealed_json(path, tree)
    with pytest.raises(CheckpointError, match=words):
        galleries.load(path, "sha", 8)


def test_a_photo_is_turned_full_circle_and_averaged_by_quarters() -> None:
    crop, seen = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8), []
    tool = SimpleNamespace(classify=lambda all: (seen.extend(all), np.arange(len(all))[:, None]))
    turned = enrolment.turned_of(tool, crop)
    assert turned[:, 0].tolist() == [4 * angle + 1.5 for angle in range(galleries.ANGLES)]
    assert all((view == np.rot90(crop, quarter)).all() for quarter, view in enumerate(seen[:4]))
    assert len(np.unique(seen, axis=0)) == 4 * galleries.ANGLES


@pytest.mark.parametrize("count", [1, 800])
def test_embeddings_are_whitened_by_the_training_set_and_by_the_turns(count: int) -> None:
    spread, turned = np.eye(2, 4) * 0.9, np.array([3, 1, 1, 0])
    noise = np.random.default_rng(0).normal(size=(count, galleries.ANGLES, 4)) * turned / 100
    views = np.float32(noise + np.eye(4)[3])
    assert enrolment.rooted(views * np.abs(views)) == pytest.approx(views, abs=0.01)
    squares = [EnrolledPhoto("", "", rows * np.abs(rows)) for rows in views]
    white = enrolment.whitening(spread, squares)
    trained = np.linalg.inv(np.eye(4) - spread.T @ spread)
    weight = count / enrolment.PRIOR * np.trace(trained) / 11
    within = white.T @ (trained + weight * np.diag(turned**2)) @ white
    assert within == pytest.approx(np.eye(4), abs=0.05)
    collapsed = enrolment.whitening(np.eye(2, 4), [EnrolledPhoto("", "", views[0] * 0)])
    assert np.isfinite(collapsed).all()


def test_slopes_are_those_of_a_line() -> None:
    cosines = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert enrolment.slopes(7 * cosines + 2, cosines) == pytest.approx([7, 7, 7], rel=1e-4)


def test_a_gallery_leaves_the_logits_and_the_energy_of_other_pills_alone(tmp_path) -> None:
    tool = recogniser()
    fitted = replace(tool.calibration, score="energy", threshold=-100.0)
    plain = Recogniser(tool.detector, tool.classifier, fitted, tool.classes, 3)
    wide = enrolment.with_gallery(plain, enrolled(tmp_path, STRANGE))
    before, after = (tool.read([frame((20, 30, 60, RED))])[0] for tool in (plain, wide))
    assert np.array_equal(after.logits[:, :4], before.logits)
    assert wide.decide(after).refusal_score == pytest.approx(
        plain.decide(before).refusal_score, abs=1e-3
    )
