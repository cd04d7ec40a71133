import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from make import aihub_tree
from make.aihub_tree import Shot
from make.download import download
from make.drawn_models import BLUE, GREEN, RED, STRANGE, frame, recogniser
from make.made_answers import OPTIONS
from pillsnap.dataset.findings import Findings
from pillsnap.own_photos import by_label
from pillsnap.prediction.load import Loaded

SIZE = (300, 200)
ONE = Shot(("K-000000",), size=SIZE)
OTHER = Shot(("K-999999",), size=SIZE)
TWO = Shot(("K-000001", "K-000002"), size=SIZE)
COLOURS = {"K-000000": RED, "K-000001": GREEN, "K-000002": BLUE, "K-999999": STRANGE}


def square(shot: Shot, code: str, colour=None):
    """A pill as a square as wide as its label's box is, at its corner."""
    x, y, width, _ = aihub_tree.box_of(shot, code)
    return x, y, width, colour or COLOURS[code]


def write(root: Path, shot: Shot, *squares) -> Path:
    """A shot whose photo shows these squares (else each of its pills), and whose boxes fit."""
    aihub_tree.write_shot(root, shot)
    for code in shot.codes:
        width = aihub_tree.box_of(shot, code)[2]
        aihub_tree.edit_label(
            aihub_tree.label_path(root, shot, code),
            lambda label, width=width: label["annotations"][0]["bbox"].__setitem__(3, width),
        )
    path = aihub_tree.photo_path(root, shot)
    shown = squares or [square(shot, code) for code in shot.codes]
    Image.fromarray(frame(*shown)).save(path)
    return path


def measured(root: Path, left_out: Findings | None = None):
    loaded = Loaded(recogniser(), 4, 200_000, "torch", "demo", root / "none.json")
    left_out = left_out or Findings()
    photos = by_label.read(root, left_out)
    return by_label.evaluate(loaded, photos, left_out, OPTIONS)


def left_out_of(root: Path) -> dict[str, int]:
    left_out = Findings()
    assert by_label.read(root, left_out) == []
    return left_out.counts


def test_an_aihub_tree_is_read_with_all_pills_of_a_combination(tmp_path) -> None:
    write(tmp_path, ONE)
    write(tmp_path, TWO)
    single, pair = by_label.read(tmp_path, Findings())
    assert (single.codes, pair.codes) == (("K-000000",), ("K-000001", "K-000002"))
    x, y, width, _ = square(ONE, "K-000000")
    assert single.box.tolist() == [[x, y, x + width, y + width]]
    assert (single.size, len(pair.box)) == (SIZE, 2)


def test_photos_and_labels_are_read_out_of_archives_and_a_broken_one_is_named(tmp_path) -> None:
    for shot in (ONE, TWO):
        write(tmp_path / "tree", shot)
    root = download(tmp_path / "tree", tmp_path / "download", packed=bool)
    assert measured(root)["single"]["frame_exact"] == 1.0
    [labels] = root.rglob("TL_1_단일.zip")
    labels.write_bytes(labels.read_bytes()[:-40])
    left_out = Findings()
    assert len(by_label.read(root, left_out)) == 1
    assert left_out.counts == {"label_unreadable": 1, "photo_without_label": 1}
    assert "TL_1_단일.zip" in left_out.examples["label_unreadable"][0]


def test_correctly_classified_pills_are_exact_in_each_kind_of_photo(tmp_path) -> None:
    for shot in (ONE, OTHER, TWO):
        write(tmp_path, shot)
    metrics = measured(tmp_path)
    assert {name: part["frame_exact"] for name, part in metrics.items()} == {
        "single": 1.0, "unknown": 1.0, "combination": 1.0,
    }  # fmt: skip
    assert metrics["combination"]["pills"] == 2


ELSEWHERE = (200, 120, 60, RED)


@pytest.mark.parametrize(
    ("shot", "squares", "error", "recall", "precision"),
    [
        (TWO, [square(TWO, "K-000001")], "missed", 0.5, 1.0),
        (ONE, [square(ONE, "K-000000"), ELSEWHERE], "false_box", 1.0, 0.5),
        (ONE, [square(ONE, "K-000000", GREEN)], "wrong_name", 0.0, 0.0),
    ],
)
def test_every_error_counts(tmp_path, shot, squares, error, recall, precision) -> None:
    write(tmp_path, shot, *squares)
    [part] = measured(tmp_path).values()
    assert (part["errors"][error], part["frame_exact"]) == (1, 0.0)
    assert (part["pill_recall"], part["pill_precision"]) == (recall, precision)


def flat(root: Path, shot: Shot = ONE, code: str = "K-000000") -> tuple[Path, Path]:
    """Photo and label next to each other in a folder whose name is no code."""
    source = root.parent / f"tree of {root.name}"
    photo, label = write(source, shot), aihub_tree.label_path(source, shot, code)
    root.mkdir(exist_ok=True)
    return Path(shutil.copy(photo, root)), Path(shutil.copy(label, root))


def test_labels_may_be_next_to_their_photos(tmp_path) -> None:
    flat(tmp_path / "mine")
    assert measured(tmp_path / "mine")["single"]["frame_exact"] == 1.0


def edit_image(label: Path, without: tuple[str, ...], **changes: str) -> None:
    def edit(tree) -> None:
        for key in without:
            del tree["images"][0][key]
        tree["images"][0] |= changes

    aihub_tree.edit_label(label, edit)


@pytest.mark.parametrize("other", ["dl_mapping_code", "drug_N"])
def test_either_code_of_a_label_identifies_its_pill(tmp_path, other: str) -> None:
    _, label = flat(tmp_path / "mine")
    edit_image(label, (other,))
    [photo] = by_label.read(tmp_path / "mine", Findings())
    assert photo.codes == ("K-000000",)
    edit_image(label, tuple({"dl_mapping_code", "drug_N"} - {other}))  # other keys still hint at it
    assert left_out_of(tmp_path / "mine") == {"label_without_code": 1}


def test_a_label_that_contradicts_its_folder_is_left_out(tmp_path) -> None:
    write(tmp_path, ONE)
    edit_image(aihub_tree.label_path(tmp_path, ONE), (), drug_N="K-000003")
    assert left_out_of(tmp_path) == {"code_contradiction": 1}


def test_names_that_the_disk_has_in_nfd_match_their_labels(tmp_path) -> None:
    photo, label = flat(tmp_path / unicodedata.normalize("NFD", "내 사진"))
    name = unicodedata.normalize("NFD", "알약")
    photo.rename(photo.with_name(f"{name}.png"))
    aihub_tree.edit_label(label, lambda tree: tree["images"][0].update(file_name="알약.png"))
    label.rename(label.with_name(unicodedata.normalize("NFC", "알약.json")))
    [found] = by_label.read(photo.parent, Findings())
    assert found.codes == ("K-000000",)


def test_a_combination_with_a_missing_or_broken_label_is_left_out(tmp_path) -> None:
    write(tmp_path, TWO)
    label = aihub_tree.label_path(tmp_path, TWO, "K-000002")
    label.write_text("{}")
    assert left_out_of(tmp_path) == {"label_keys_missing": 1}
    label.unlink()
    assert left_out_of(tmp_path) == {"label_missing": 1}


def test_a_photo_without_a_label_and_a_label_without_a_photo_are_left_out(tmp_path) -> None:
    flat(tmp_path / "mine")
    (tmp_path / "mine/other.png").write_bytes(b"")
    (tmp_path / "mine/another.json").write_text("{}")
    left_out = Findings()
    assert len(by_label.read(tmp_path / "mine", left_out)) == 1
    assert left_out.counts == {"label_without_photo": 1, "photo_without_label": 1}


def test_two_photos_of_one_name_are_left_out(tmp_path) -> None:
    photo, _ = flat(tmp_path / "mine")
    shutil.copy(photo, photo.with_suffix(".bmp"))
    assert left_out_of(tmp_path / "mine") == {"photo_twice": 1}


def test_a_photo_of_another_size_or_that_cannot_be_read_is_left_out(tmp_path) -> None:
    path = write(tmp_path, ONE)
    Image.open(path).resize((400, 300)).save(path)
    for reason in ("photo_of_another_size", "photo_unusable"):
        left_out = Findings()
        assert measured(tmp_path, left_out) == {}
        assert left_out.counts == {reason: 1}
        path.write_bytes(b"words")


def test_other_json_makes_no_labels_of_a_folder(tmp_path) -> None:
    Image.fromarray(frame()).save(tmp_path / "a.png")
    (tmp_path / "package.json").write_text(json.dumps({"name": "x"}))
    assert left_out_of(tmp_path) == {}
