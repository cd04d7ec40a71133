"""The same photos give the same manifests, in whatever form AI Hub's download is on the disk."""

import itertools
import shutil
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

from make.aihub_tree import Shot, write_shot
from make.download import OUTER, download, flip_bit
from make.orders import order
from pillsnap.aihub import reading
from pillsnap.aihub import tree as aihub
from pillsnap.dataset import manifest, source
from pillsnap.errors import DataError
from pillsnap.formats import fingerprint
from pillsnap.manifest import build, tables
from pillsnap.manifest.build import Selection
from pillsnap.stage.pool import workers

NUMBERS = {"samples": 130, "classes": 6, "combination_share": 0.15}
CODES = [f"K-{number:06d}" for number in range(1, 7)]
VIEWS = list(itertools.product((0, 2), (0, 1), (0, 2), (70, 75, 90)))
FIRST = f"{OUTER}/1.Training/원천데이터/단일경구약제 5000종/TS_1_단일.zip"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rearranged: three single shards and a combination shard in each part."""
    root = tmp_path_factory.mktemp("rearranged")
    for number, code in enumerate([*CODES, *(f"K-{one:06d}" for one in (51, 52, 53))]):
        known = number < len(CODES)
        shard, part = (number // 2 + 1, "train") if known else (number - 5, "val")
        for view in VIEWS:
            write_shot(root, Shot((code,), *view, part=part, shard=shard))
    for at, part in itertools.product(range(4), aihub.PARTS):
        for latitude in (70, 75, 90):
            codes = tuple(CODES[at : at + 3]) if part == "train" else (CODES[at], CODES[at + 1])
            write_shot(root, Shot(codes, latitude=latitude, part=part))
    return root


def built(root: Path) -> Selection:
    return build.build(root, order(**NUMBERS), fingerprint.take(root), lambda done, total: None)


def rows(chosen: Selection) -> pd.DataFrame:
    """The three manifests in one table, with names instead of paths."""
    parts = [
        pd.DataFrame(tables.rows_of(chosen, side)).assign(split=name)
        for side, name in enumerate(manifest.SPLITS)
    ]
    table = pd.concat(parts)
    for column in ("image_path", "label_path"):
        names = table[column].str.rpartition("/")[2].str.lower()
        table[column] = names
    return table.sort_values(["image_path", "mapping_code"]).reset_index(drop=True)


FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "unpacked": download,
    "NFD": lambda tree, out: download(tree, out, spelt=partial(unicodedata.normalize, "NFD")),
    "underscores": lambda tree, out: download(tree, out, spelt=lambda p: p.replace(" ", "_")),
    "upper-case endings": lambda tree, out: download(
        tree, out, spelt=lambda p: p.replace(".png", ".PNG")
    ),
    "zipped": lambda tree, out: download(tree, out, packed=bool, inside="알약/"),
    "labels zipped": lambda tree, out: download(tree, out, packed=lambda name: name[1] == "L"),
    "one shard zipped": lambda tree, out: download(tree, out, packed=lambda n: "S_2" in n),
    "inner folders only": lambda tree, out: download(tree, out, packed=bool) / OUTER,
    "garbled names": lambda tree, out: download(
        tree, out, spelt=lambda p: p.encode("cp949").decode("cp437", "replace"), packed=bool
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_rows_of_the_rearranged_tree(tree, tmp_path, form):
    root = FORMS[form](tree, tmp_path)
    chosen = built(root)
    pd.testing.assert_frame_equal(rows(chosen), rows(built(tree)))
    assert not chosen.findings.counts and not chosen.left_out.counts
    for path in tables.rows_of(chosen, 0)["image_path"]:
        assert source.read(root / path, 100) == Path(path).stem.encode()


def flat(tree: Path, root: Path) -> Path:
    """As public subsets are: train_images/*.png, train_annotations/K-..._json/."""
    for path in filter(Path.is_file, tree.rglob("*")):
        part, kind, _, _, *inner = path.relative_to(tree).parts
        inside = ["images", path.name] if kind == "images" else ["annotations", *inner]
        target = root / f"{part}_{inside[0]}" / Path(*inside[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


@pytest.mark.parametrize("name", ["train_annotations.json", "train_images/_annotations.coco.json"])
def test_labels_in_one_coco_file_are_refused_by_name(tree, tmp_path, name):
    for labels in flat(tree, tmp_path).glob("*_annotations"):
        shutil.rmtree(labels)
    (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=f"looks like a flat COCO set.*{name}") as refusal:
        built(tmp_path)
    assert "one JSON file per photo and pill" in refusal.value.cure


def test_shards_unknown_without_folders_and_unpacked_photos_before_archives(tree, tmp_path):
    chosen = rows(built(download(tree, tmp_path / "a", shards=False)))
    expected = rows(built(tree))
    same = [name for name in chosen if name != "shard"]
    pd.testing.assert_frame_equal(chosen[same], expected[same])
    assert set(chosen["shard"]) == {"단일경구약제 5000종", "경구약제조합 5000종"}
    chosen = rows(built(flat(tree, tmp_path / "flat")))
    pd.testing.assert_frame_equal(chosen[same], expected[same])
    assert len(aihub.sample(tmp_path / "flat", 8)) == 8
    download(tree, tmp_path / "b", packed=lambda name: name == "TS_1_단일")
    both = built(download(tree, tmp_path / "b"))
    pd.testing.assert_frame_equal(rows(both), expected)
    assert both.left_out.counts == {"photo_duplicated": 2 * len(VIEWS)}
    assert ".zip/" not in "".join(tables.rows_of(both, 0)["image_path"])


@pytest.mark.parametrize("damage", ["cut short", "empty", "no archive"])
def test_a_broken_archive_is_one_finding_and_the_rest_is_used(tree, tmp_path, damage):
    root = download(tree, tmp_path, packed=bool)
    path = root / FIRST
    content = path.read_bytes()
    path.write_bytes({"cut short": content[:-2000], "empty": b""}.get(damage, b"<html>" * 99))
    found = aihub.scan(root)
    assert found.findings.counts == {"archive_unreadable": 1}
    assert FIRST in found.findings.examples["archive_unreadable"][0]
    shards = {folder.shard for folder in found.folders if folder.kind == "images"}
    singles = {f"{part}S_{number}_single" for part in "TV" for number in (1, 2, 3)}
    assert shards == singles - {"TS_1_single"} | {"TS_1_combo", "VS_1_combo"}


def test_a_flipped_bit_in_a_label_is_found_by_the_archives_checksum(tree, tmp_path):
    root = download(tree, tmp_path, packed=lambda name: name == "TL_2_단일", method=0)
    label = next(p for p in tables.rows_of(built(root), 0)["label_path"] if ".zip/" in p)
    flip_bit(root / label)
    chosen = built(root)
    assert chosen.findings.counts == chosen.left_out.counts == {"label_unreadable": 1}
    assert f"{label}: damaged archive" in chosen.findings.examples["label_unreadable"][0]
    assert label not in list(tables.rows_of(chosen, 0)["label_path"])


def test_the_fingerprint_reads_directories_of_archives_only(tree, tmp_path):
    root = download(tree, tmp_path, packed=bool)
    before = fingerprint.take(root)
    assert (before.count, before.bytes) == (
        fingerprint.take(tree).count, fingerprint.take(tree).bytes
    )  # fmt: skip
    flip_bit(root / FIRST / "K-000001" / f"{Shot(('K-000001',), *VIEWS[0]).stem}.png")
    assert fingerprint.take(root) == before


def test_nothing_is_written_to_the_root(tree, tmp_path):
    root = download(tree, tmp_path, packed=lambda name: "1" in name)
    paths = [root, *root.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        built(root)
    finally:
        for path in paths:
            path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


@pytest.mark.parametrize("shards", [True, False])
def test_a_sample_takes_photos_of_many_shards(tree, tmp_path, shards):
    root = download(tree, tmp_path, packed=lambda name: shards and "1" in name, shards=shards)
    paths = aihub.sample(root, 8)
    assert len({path.rpartition("/K-" if shards else "/")[0] for path in paths}) == len(paths) == 8
    assert all(source.status(root / path).size for path in paths)


def test_members_with_paths_outside_the_archive_are_ignored(tmp_path):
    with ZipFile(tmp_path / "TS_1_단일.zip", "w") as archive:
        for name in ("../K-000001/a.png", "/K-000001/b.png", "K-000001/._c.png", "K-000001/d.txt"):
            archive.writestr(name, b"x")
    found = aihub.scan(tmp_path)
    assert not found.folders
    assert found.findings.counts == {"file_ignored": 3, "macos_file": 1}


def test_workers_scan_archives_alike(tree, tmp_path):
    root = download(tree, tmp_path, packed=lambda name: name[1] == "S")
    (root / "TS_9_단일.zip").symlink_to(root / FIRST)
    for number, labels in enumerate(sorted(root.rglob("TL_*"))):
        (labels / f"._{number}.json").write_bytes(b"")
    steps: list[tuple[int, int]] = []
    with workers(2, reading.__name__, "") as spread:
        found = aihub.scan(root, spread, lambda *step: steps.append(step))
    assert [done for done, _ in steps] == list(range(1, 17)) and {all_ for _, all_ in steps} == {16}
    assert found == aihub.scan(root)
    assert found.findings.counts == {"folder_linked_twice": 1, "macos_file": 4}
