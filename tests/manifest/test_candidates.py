"""Photos matched with their labels by file name, and what that leaves out."""

from dataclasses import replace
from pathlib import Path

import pytest

from make.aihub_tree import Shot, label_path, photo_path, write_shot, write_tree
from pillsnap.aihub import tree as aihub
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import View
from pillsnap.manifest import candidates
from pillsnap.manifest.candidates import Candidates

SHOT = Shot(("K-000001",), back=1, direction=1, light=0, latitude=90, longitude=340)
PAIR = Shot(("K-000001", "K-000002"))


def collect(root: Path) -> tuple[Candidates, dict[str, int], dict[str, int]]:
    tree, left_out = aihub.scan(root), Findings()
    found = candidates.collect(tree, left_out)
    return found, left_out.counts, tree.findings.counts


def test_a_single_has_one_pill_and_its_group(tmp_path):
    write_shot(tmp_path, SHOT)
    found, *_ = collect(tmp_path)
    assert found.groups == ["K-000001_b1_l0_d1"]
    assert found.views[found.view[0]] == View(0, 1, 1, 0, 90, 340, 200)
    assert (tmp_path / found.photo_path(0)) == photo_path(tmp_path, SHOT)
    assert (tmp_path / found.label_path(0)) == label_path(tmp_path, SHOT)
    assert found.photo_bytes[0] == photo_path(tmp_path, SHOT).stat().st_size


def test_a_combination_merges_its_label_files(tmp_path):
    write_shot(tmp_path, PAIR)
    found, *_ = collect(tmp_path)
    assert found.groups == ["K-000001-000002"]
    assert list(found.pills) == [2]
    paths = [tmp_path / found.label_path(pill) for pill in range(2)]
    assert paths == [label_path(tmp_path, PAIR, code) for code in PAIR.codes]


@pytest.mark.parametrize("shot", [SHOT, PAIR])
def test_a_code_or_combination_in_two_shards_is_one_group(tmp_path, shot):
    write_shot(tmp_path, shot)
    write_shot(tmp_path, replace(shot, shard=2, latitude=60))
    found, left_out, _ = collect(tmp_path)
    assert len(found.groups) == 1 and len(found.stems) == 2 and not left_out
    assert found.codes == list(shot.codes)


def test_labels_in_another_shard_are_found(tmp_path):
    write_shot(tmp_path, PAIR)
    (tmp_path / "train/labels/combination/TL_1_combo").rename(
        tmp_path / "train/labels/combination/TL_5_combo"
    )
    found, left_out, _ = collect(tmp_path)
    assert list(found.pills) == [2] and not left_out


def move_photo(root: Path, target: str) -> None:
    path = photo_path(root, SHOT).parent / target
    path.parent.mkdir(exist_ok=True)
    photo_path(root, SHOT).rename(path)


def move_label(root: Path, folder: str) -> None:
    path = label_path(root, SHOT)
    (path.parents[1] / folder).mkdir()
    path.rename(path.parents[1] / folder / path.name)


def add_label(root: Path, shot: Shot, code: str) -> None:
    write_shot(root, shot)
    label_path(root, shot, code).parent.mkdir(exist_ok=True)
    label_path(root, shot, code).write_bytes(b"{}")


def add_label_in_another_shard(root: Path) -> None:
    write_shot(root, replace(SHOT, shard=2))
    photo_path(root, replace(SHOT, shard=2)).unlink()


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (
            lambda root: write_shot(root, replace(SHOT, shard=2)),
            ("photo_duplicated", "label_duplicated"),
        ),
        (
            lambda root: move_photo(root, f"../K-000009/{SHOT.stem}.png"),
            ("photo_in_wrong_folder", "label_without_photo"),
        ),
        (
            lambda root: move_photo(root, "K-000001_0_1_1.png"),
            ("file_name_invalid", "label_without_photo"),
        ),
        (lambda root: label_path(root, SHOT).unlink(), ("photo_without_label", "")),
        (lambda root: add_label(root, PAIR, "K-000009"), ("label_of_another_code", "")),
        (
            lambda root: move_label(root, "K-000009_json"),
            ("photo_without_label", "label_in_wrong_folder"),
        ),
        (
            lambda root: move_label(root, "misc"),
            ("photo_without_label", "label_outside_a_code_folder"),
        ),
        (add_label_in_another_shard, ("", "label_duplicated")),
        (
            lambda root: write_shot(root, Shot(("K-000001", "K-000001"))),
            ("incomplete_combination", ""),
        ),
    ],
)
def test_what_cannot_be_used_is_counted_once_with_its_reason(tmp_path, damage, names):
    write_shot(tmp_path, SHOT)
    write_shot(tmp_path, Shot(("K-000005",)))
    damage(tmp_path)
    found, *counts = collect(tmp_path)
    assert counts == [{name: 1} if name else {} for name in names]
    assert "K-000005" in found.codes
    assert all("_1_" in found.label_path(pill) for pill in range(len(found.pill_code)))


def test_a_label_without_a_photo_is_counted(tmp_path):
    write_tree(tmp_path, ["K-000005"], combos=[PAIR.codes])
    write_shot(tmp_path, SHOT)
    photo_path(tmp_path, SHOT).unlink()
    photo_path(tmp_path, PAIR).unlink()
    assert collect(tmp_path)[2] == {"label_without_photo": 3}


def test_a_combination_that_lacks_labels_is_incomplete(tmp_path):
    write_shot(tmp_path, replace(PAIR, labelled=("K-000002",)))
    write_shot(tmp_path, replace(PAIR, latitude=90))
    found, left_out, _ = collect(tmp_path)
    assert left_out == {"incomplete_combination": 1}
    assert sorted(zip(found.complete.tolist(), found.pills.tolist(), strict=True)) == [
        (False, 1), (True, 2),
    ]  # fmt: skip
