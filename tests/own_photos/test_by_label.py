import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from make import aihub_tree, own_sets
from make.aihub_tree import Shot
from make.download import download
from make.drawn_models import BLUE, GREEN, RED, STRANGE, frame
from make.made_answers import OPTIONS
from make.services import loaded
from pillsnap.dataset.findings import Findings
from pillsnap.own_photos import by_label

SIZE = (300, 200)
ONE = Shot(("K-000000",), size=SIZE)
OTHER = Shot(("K-999999",), size=SIZE)
TWO = Shot(("K-000001", "K-000002"), size=SIZE)
COLOURS = {"K-000000": RED, "K-000001": GREEN, "K-000002": BLUE, "K-999999": STRANGE}


def write(root: Path, shot: Shot) -> Path:
    """A shot whose photo shows each pill as a square that is as wide as its label's box."""
    aihub_tree.write_shot(root, shot)
    squares = []
    for code in shot.codes:
        x, y, width, _ = aihub_tree.box_of(shot, code)
        squares.append((x, y, width, COLOURS[code]))
        aihub_tree.edit_label(
            aihub_tree.label_path(root, shot, code),
            lambda label, width=width: label["annotations"][0]["bbox"].__setitem__(3, width),
        )
    path = aihub_tree.photo_path(root, shot)
    Image.fromarray(frame(*squares)).save(path)
    return path


def measured(root: Path):
    """Metrics, and the counts of what is left out."""
    left_out = Findings()
    photos = by_label.read(root, left_out)
    return by_label.evaluate(loaded(root), photos, left_out, OPTIONS), left_out.counts


def left_out_of(root: Path) -> dict[str, int]:
    metrics, counts = measured(root)
    assert metrics == {}
    return counts


def test_the_pills_of_an_aihub_tree_are_exact_where_they_are_classified_right(tmp_path) -> None:
    for shot in (ONE, OTHER, TWO):
        write(tmp_path, shot)
    single, pair, _ = by_label.read(tmp_path, Findings())
    assert (single.codes, pair.codes) == (("K-000000",), ("K-000001", "K-000002"))
    x, y, width, _ = aihub_tree.box_of(ONE, "K-000000")
    assert single.box.tolist() == [[x, y, x + width, y + width]]
    assert (single.size, len(pair.box)) == (SIZE, 2)
    metrics, _ = measured(tmp_path)
    shares = dict.fromkeys(("single", "unknown", "combination"), 1.0)
    assert {name: part["frame_exact"] for name, part in metrics.items()} == shares
    assert metrics["combination"]["pills"] == 2


def test_photos_and_labels_are_read_out_of_archives_and_a_broken_one_is_named(tmp_path) -> None:
    for shot in (ONE, TWO):
        write(tmp_path / "tree", shot)
    root = download(tmp_path / "tree", tmp_path / "download", packed=bool)
    assert measured(root)[0]["single"]["frame_exact"] == 1.0
    [labels] = root.rglob("TL_1_단일.zip")
    labels.write_bytes(labels.read_bytes()[:-40])
    left_out = Findings()
    assert len(by_label.read(root, left_out)) == 1
    assert left_out.counts == {"label_unreadable": 1, "photo_without_label": 1}
    assert "TL_1_단일.zip" in left_out.examples["label_unreadable"][0]


def flat(root: Path) -> tuple[Path, Path]:
    """Photo and label next to each other in a folder whose name is no code."""
    source = root.parent / f"tree of {root.name}"
    photo, label = write(source, ONE), aihub_tree.label_path(source, ONE, "K-000000")
    root.mkdir(exist_ok=True)
    return Path(shutil.copy(photo, root)), Path(shutil.copy(label, root))


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


def test_labels_may_be_next_to_their_photos_whose_names_are_in_nfd(tmp_path) -> None:
    photo, label = flat(tmp_path / unicodedata.normalize("NFD", "내 사진"))
    name = unicodedata.normalize("NFD", "알약")
    photo.rename(photo.with_name(f"{name}.png"))
    aihub_tree.edit_label(label, lambda tree: tree["images"][0].update(file_name="알약.png"))
    label.rename(label.with_name(unicodedata.normalize("NFC", "알약.json")))
    assert measured(photo.parent)[0]["single"]["frame_exact"] == 1.0


def test_a_photo_with_a_missing_broken_or_contradicting_label_is_left_out(tmp_path) -> None:
    write(tmp_path, TWO)
    label = aihub_tree.label_path(tmp_path, TWO, "K-000002")
    edit_image(label, (), drug_N="K-000003")
    assert left_out_of(tmp_path) == {"code_contradiction": 1}
    label.write_text("{}")
    assert left_out_of(tmp_path) == {"label_keys_missing": 1}
    label.unlink()
    assert left_out_of(tmp_path) == {"label_missing": 1}


def test_photos_and_labels_that_are_no_pairs_are_left_out(tmp_path) -> None:
    photo, _ = flat(tmp_path / "mine")
    shutil.copy(photo, photo.with_suffix(".bmp"))
    (tmp_path / "mine/other.png").write_bytes(b"")
    (tmp_path / "mine/another.json").write_text("{}")
    assert left_out_of(tmp_path / "mine") == dict.fromkeys(
        ("label_without_photo", "photo_twice", "photo_without_label"), 1
    )


def test_a_photo_of_another_size_or_that_cannot_be_read_is_left_out(tmp_path) -> None:
    path = write(tmp_path, ONE)
    Image.open(path).resize((300, 300)).save(path)
    for reason in ("photo_of_another_size", "photo_unusable"):
        assert left_out_of(tmp_path) == {reason: 1}
        path.write_bytes(b"words")
    path.rename(tmp_path / "other.png")  # JSON without a photo of its name is no label
    assert left_out_of(tmp_path) == {}


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_a_set_of_another_form_is_measured_by_its_labels(tmp_path, form) -> None:
    names = ("K-000000", "K-000001", "a new drug")
    squares = ((20, 30, 60, RED), (150, 40, 60, GREEN)), ((200, 100, 50, STRANGE),)
    pills = ((0, (20, 30, 60, 60)), (1, (150, 40, 60, 60))), ((2, (200, 100, 50, 50)),)
    drawn = [own_sets.Drawn(f"p {at}", frame(*squares[at]), pills[at]) for at in range(2)]
    getattr(own_sets, form)(tmp_path, drawn, names=names)
    metrics, counts = measured(tmp_path)
    assert counts == {}
    assert metrics["combination"]["frame_exact"] == 1 and metrics["combination"]["pills"] == 2
    assert metrics["unknown"]["frames"] == 1
