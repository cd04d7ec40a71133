"""What a scan of an AI Hub tree finds, and what it skips."""

import os
import unicodedata
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from make.aihub_tree import Shot, photo_path, write_shot, write_tree
from pillsnap.aihub import tree as aihub
from pillsnap.dataset import names

SHOT = Shot(("K-000001",))
PAIR = Shot(("K-000001", "K-000002"))
SHARD = "train/images/single/TS_1_single"


def photos(tree: aihub.Tree) -> list[str]:
    return [
        f"{one.path}/{name}" for one in tree.folders if one.kind == "images" for name in one.names
    ]


def test_contact_sheets_and_macos_files_are_skipped_and_counted(tmp_path):
    write_shot(tmp_path, PAIR)
    folder = photo_path(tmp_path, PAIR).parent
    (folder / f"{PAIR.name}_index.png").write_bytes(b"sheet")
    (folder / f"._{PAIR.stem}.png").write_bytes(b"mac")
    tree = aihub.scan(tmp_path)
    assert photos(tree) == [f"{folder.relative_to(tmp_path)}/{PAIR.stem}.png"]
    assert tree.findings.counts == {"contact_sheet": 1, "macos_file": 1}


def test_the_outputs_of_a_scale_beside_the_tree_are_not_part_of_it(tmp_path):
    write_shot(tmp_path, SHOT)
    before = aihub.scan(tmp_path).findings.counts
    for name in ("crops/val.arrow", "detection/labels/val/a.txt", "frames/K-000001/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    tree = aihub.scan(tmp_path)
    assert (len(photos(tree)), tree.findings.counts) == (1, before)


def undecodable(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root / SHARD) + b"/\xb0\xa1.png")).write_bytes(b"?")


@pytest.mark.parametrize(
    ("damage", "finding", "example"),
    [
        (lambda root: (root / SHARD / "a.txt").write_text("?"), "file_ignored", f"{SHARD}/a.txt"),
        (lambda root: os.mkfifo(root / SHARD / "a.png"), "file_ignored", f"{SHARD}/a.png"),
        (
            lambda root: (root / SHARD / "TS_2_single").symlink_to(root / "gone"),
            "link_broken",
            f"{SHARD}/TS_2_single: No such",
        ),
        (
            lambda root: (root / "TS_9_단일.zip.part0").write_bytes(b"half"),
            "download_unfinished",
            "TS_9_단일.zip.part0",
        ),
        (undecodable, "name_not_utf8", f"{SHARD}/??.png"),
    ],
)
def test_what_is_no_photo_is_counted_and_the_rest_found(tmp_path, damage, finding, example):
    write_shot(tmp_path, SHOT)
    damage(tmp_path)
    tree = aihub.scan(tmp_path)
    assert len(photos(tree)) == 1
    assert tree.findings.counts == {finding: 1}
    assert tree.findings.examples[finding][0].startswith(example)


def test_a_loop_of_links_ends(tmp_path):
    write_shot(tmp_path, SHOT)
    (tmp_path / SHARD / "K-000001" / "loop").symlink_to(tmp_path / "train/images")
    (tmp_path / SHARD / "again").symlink_to(tmp_path / SHARD)
    tree = aihub.scan(tmp_path)
    assert len(photos(tree)) == 1
    assert tree.findings.counts["folder_linked_twice"] >= 2


def test_a_link_does_not_take_over_the_folder_of_another_part(tmp_path):
    write_shot(tmp_path, SHOT)
    write_shot(tmp_path, Shot(("K-000009",), part="val"))
    (tmp_path / SHARD / "sideways").symlink_to(tmp_path / "val/images/single")
    parts = {one.part for one in aihub.scan(tmp_path).folders if one.path.startswith("val")}
    assert parts == {"val"}


def test_paths_of_255_bytes_spaces_and_decomposed_korean_are_walked(tmp_path):
    root = tmp_path / "뿌리 폴더"
    write_shot(root, SHOT)
    shard = (root / SHARD).rename(
        (root / SHARD).with_name(unicodedata.normalize("NFD", "TS_1_단일"))
    )
    tree = aihub.scan(root)
    assert tree.folders[0].shard == "TS_1_single"
    assert (root / photos(tree)[0]).is_file()
    shard.rename(shard.with_name("s p" + "x" * 252))
    assert len(photos(aihub.scan(root))) == 1


def test_the_order_does_not_depend_on_the_listing(tmp_path, monkeypatch):
    write_tree(tmp_path, ["K-000002", "K-000001"], combos=[("K-000001", "K-000002")])
    first = aihub.scan(tmp_path).folders
    listing = os.scandir

    class Entries(list["os.DirEntry[str]"], AbstractContextManager):
        def __exit__(self, *_):
            pass

        close = __exit__

    monkeypatch.setattr("pillsnap.aihub.tree.os.scandir", lambda at: Entries([*listing(at)][::-1]))
    assert aihub.scan(tmp_path).folders == first


def test_views_and_codes_are_read_from_names():
    assert names.parse_view("0_2_1_0_75_260_200") == names.View(0, 2, 1, 0, 75, 260, 200)
    assert names.parse_codes("K-015710-016232") == ("K-015710", "K-016232")
    for text in ("", "0_2_1_0_75_260", "0_2_1_0_7_260_200", "0_2_1_0_75_26٠_200"):
        assert names.parse_view(text) is None
    for text in ("K-1", "K-0157100", "k-015710", "K-015710-16232", "015710"):
        assert names.parse_codes(text) is None


@pytest.mark.parametrize("link", ["val/images/single/VS_1_single", "val/images/single"])
def test_what_is_linked_into_another_part_is_walked_once(tmp_path, link):
    write_shot(tmp_path, SHOT)
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(tmp_path / link.replace("val", "train").replace("VS", "TS"))
    tree = aihub.scan(tmp_path)
    assert tree.findings.counts == {"folder_linked_twice": 1}
    assert [folder.part for folder in tree.folders if folder.kind == "images"] == ["train"]
