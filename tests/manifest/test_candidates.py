"""Photos matched with their labels by file name, and what that leaves out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from make.aihub_tree import Shot, label_path, photo_path, write_shot, write_tree
from pillsnap.aihub import tree as aihub
from pillsnap.dataset import names
from pillsnap.dataset.findings import Findings
from pillsnap.manifest import candidates
from pillsnap.manifest.candidates import Candidates

SHOT = Shot(("K-000001",), back=1, direction=1, light=0, latitude=90, longitude=340)
PAIR = Shot(("K-000001", "K-000002"))


def collect(root: Path) -> tuple[Candidates, dict[str, int], dict[str, int]]:
    """Candidates, counts left out, counts of findings."""
    tree, left_out = aihub.scan(root), Findings()
    found = candidates.collect(tree, left_out)
    return found, left_out.counts, tree.findings.counts


def test_a_single_has_one_pill_and_its_group(tmp_path: Path) -> None:
    write_shot(tmp_path, SHOT)
    found, *_ = collect(tmp_path)
    assert found.groups == ["K-000001_b1_l0_d1"]
    assert found.views[found.view[0]] == names.View(0, 1, 1, 0, 90, 340, 200)
    assert (tmp_path / found.photo_path(0)) == photo_path(tmp_path, SHOT)
    assert (tmp_path / found.label_path(0)) == label_path(tmp_path, SHOT)
    assert found.photo_bytes[0] == photo_path(tmp_path, SHOT).stat().st_size


def test_a_combination_merges_its_label_files(tmp_path: Path) -> None:
    write_shot(tmp_path, PAIR)
    found, *_ = collect(tmp_path)
    assert found.groups == ["K-000001-000002"]
    assert list(found.pills) == [2]
    paths = [tmp_path / found.label_path(pill) for pill in range(2)]
    assert paths == [label_path(tmp_path, PAIR, code) for code in PAIR.codes]


@pytest.mark.parametrize("shot", [SHOT, PAIR])
def test_a_code_or_combination_in_two_shards_is_one_group(tmp_path: Path, shot: Shot) -> None:
    write_shot(tmp_path, shot)
    write_shot(tmp_path, replace(shot, shard=2, latitude=60))
    found, left_out, _ = collect(tmp_path)
    assert len(found.groups) == 1 and len(found.stems) == 2 and not left_out
    assert found.codes == list(shot.codes)


def test_labels_in_another_shard_are_found(tmp_path: Path) -> None:
    write_shot(tmp_path, PAIR)
    (tmp_path / "train/labels/combination/TL_1_combo").rename(
        tmp_path / "train/labels/combination/TL_5_combo"
    )
    found, left_out, _ = collect(tmp_path)
    assert list(found.pills) == [2] and not left_out


def add_second_copy(root: Path) -> None:
    write_shot(root, replace(SHOT, shard=2))


def misplace_photo(root: Path) -> None:
    path = root / "train/images/single/TS_1_single/K-000009" / f"{SHOT.stem}.png"
    path.parent.mkdir()
    photo_path(root, SHOT).rename(path)


def misname_photo(root: Path) -> None:
    path = photo_path(root, SHOT)
    path.rename(path.with_name("K-000001_0_1_1.png"))


def drop_label(root: Path) -> None:
    label_path(root, SHOT).unlink()


def label_of_another_code(root: Path) -> None:
    write_shot(root, PAIR)
    path = label_path(root, PAIR, "K-000009")
    path.parent.mkdir()
    path.write_bytes(b"{}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (add_second_copy, "photo_duplicated"),
        (misplace_photo, "photo_in_wrong_folder"),
        (misname_photo, "file_name_invalid"),
        (drop_label, "photo_without_label"),
        (label_of_another_code, "label_of_another_code"),
    ],
)
def test_a_photo_left_out_is_counted_once_with_its_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    write_shot(tmp_path, SHOT)
    write_shot(tmp_path, Shot(("K-000005",)))
    damage(tmp_path)
    found, left_out, _ = collect(tmp_path)
    assert left_out == {reason: 1}
    assert "K-000005" in found.codes


def move_label(root: Path, folder: str) -> None:
    path = root / "train/labels/single/TL_1_single" / folder / f"{SHOT.stem}.json"
    path.parent.mkdir(exist_ok=True)
    label_path(root, SHOT).rename(path)


def test_a_label_without_a_photo_is_counted(tmp_path: Path) -> None:
    write_tree(tmp_path, ["K-000005"], combos=[PAIR.codes])
    write_shot(tmp_path, SHOT)
    photo_path(tmp_path, SHOT).unlink()
    photo_path(tmp_path, PAIR).unlink()
    assert collect(tmp_path)[2] == {"label_without_photo": 3}


@pytest.mark.parametrize(
    ("folder", "finding"),
    [("K-000009_json", "label_in_wrong_folder"), ("misc", "label_outside_a_code_folder")],
)
def test_a_label_outside_the_folder_of_its_code_is_not_used(
    tmp_path: Path, folder: str, finding: str
) -> None:
    write_shot(tmp_path, SHOT)
    move_label(tmp_path, folder)
    _, left_out, findings = collect(tmp_path)
    assert findings == {finding: 1}
    assert left_out == {"photo_without_label": 1}


def test_a_second_label_of_a_photo_is_counted_and_the_first_used(tmp_path: Path) -> None:
    write_shot(tmp_path, SHOT)
    write_shot(tmp_path, replace(SHOT, shard=2))
    photo_path(tmp_path, replace(SHOT, shard=2)).unlink()
    found, left_out, findings = collect(tmp_path)
    assert findings == {"label_duplicated": 1} and not left_out
    assert "TL_1_single" in found.label_path(0)


def test_a_combination_that_lacks_labels_is_incomplete(tmp_path: Path) -> None:
    write_shot(tmp_path, replace(PAIR, labelled=("K-000002",)))
    write_shot(tmp_path, replace(PAIR, latitude=90))
    found, left_out, _ = collect(tmp_path)
    assert left_out == {"incomplete_combination": 1}
    assert sorted(zip(found.complete.tolist(), found.pills.tolist(), strict=True)) == [
        (False, 1), (True, 2),
    ]  # fmt: skip


def test_a_code_repeated_in_a_name_makes_the_frame_incomplete(tmp_path: Path) -> None:
    write_shot(tmp_path, Shot(("K-000001", "K-000001")))
    assert collect(tmp_path)[1] == {"incomplete_combination": 1}


def test_an_empty_tree_has_no_candidates(tmp_path: Path) -> None:
    assert len(collect(tmp_path)[0].stems) == 0
