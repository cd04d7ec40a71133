"""Which trees have the same fingerprint."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from make.aihub_tree import Shot, photo_path, write_tree
from pillsnap.cli import app
from pillsnap.errors import DataError
from pillsnap.formats import fingerprint
from pillsnap.formats.fingerprint import Fingerprint

ROOT = Path(__file__).parents[2]
SHOT = Shot(("K-000001",), back=0, light=0, latitude=75)


def test_it_counts_photos_and_labels_and_their_bytes_wherever_they_are(tmp_path):
    write_tree(tmp_path / "a", ["K-000001"])
    taken = fingerprint.take(tmp_path / "a")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert taken.count == len(files) == 72
    assert taken.bytes == sum(path.stat().st_size for path in files)
    write_tree(tmp_path / "b", ["K-000001"])
    (tmp_path / "b/train/images/._x.png").write_bytes(b"mac")
    (tmp_path / "b/train/readme.txt").write_text("hello")
    assert fingerprint.take(tmp_path / "b") == taken


def test_a_fingerprint_of_nothing_is_refused_with_the_largest_findings(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.png", "e.png", "._f.png", "train/g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "TS_1_단일.zip").write_bytes(b"cut short")
    with pytest.raises(DataError, match="holds no photo") as refusal:
        fingerprint.take(tmp_path)
    assert [line.strip() for line in refusal.value.fact.splitlines()[1:]] == [
        "file_ignored: 4, e.g. a.jpg",
        "file_outside_train_and_val: 2, e.g. d.png",
        "archive_unreadable: 1, e.g. TS_1_단일.zip: damaged archive: File is not a zip file",
    ]
    assert "data/README.md" in refusal.value.cure


NEW = "K-000001_0_0_0_0_75_340_200.png"


@pytest.mark.parametrize(
    "change",
    [
        lambda photo: photo.write_bytes(b"{}"),
        lambda photo: photo.unlink(),
        lambda photo: photo.rename(photo.with_name(NEW)),
        lambda photo: photo.with_name(NEW).write_bytes(b"new"),
    ],
)
def test_a_changed_file_changes_it(tmp_path, change):
    write_tree(tmp_path, ["K-000001"])
    before = fingerprint.take(tmp_path)
    change(photo_path(tmp_path, SHOT))
    assert fingerprint.take(tmp_path).sha256 != before.sha256


def test_composed_and_decomposed_names_have_one_fingerprint(tmp_path):
    for form in ("NFC", "NFD"):
        write_tree(tmp_path / form, ["K-000001"])
        shard = tmp_path / form / "train/images/single/TS_1_single"
        shard.rename(shard.with_name(unicodedata.normalize(form, "TS_1_단일")))
    assert fingerprint.take(tmp_path / "NFC") == fingerprint.take(tmp_path / "NFD")


def test_a_fingerprint_is_read_back_and_unset_is_none(tmp_path):
    path = tmp_path / "stage1.json"
    fingerprint.write(path, "stage1", Fingerprint(3, 4, "ab"))
    assert fingerprint.read(path) == Fingerprint(3, 4, "ab")
    path.write_text('{"sha256": null}')
    assert fingerprint.read(path) is None


DAMAGED = ("", "[]", "<<<<<<< HEAD\n", '{"count": 1}', '{"sha256": "a", "count": []}', "[" * 10**5)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_the_cure_of_a_damaged_record_works(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", "tree")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_tree(tmp_path / "tree", ["K-000001"])
    path = fingerprint.path_of("demo")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataError, match=str(path)) as refusal:
        fingerprint.read(path)
    assert "`pillsnap fingerprint`" in refusal.value.cure
    assert CliRunner().invoke(app, ["fingerprint"]).exit_code == 0
    assert fingerprint.read(path) == fingerprint.take(tmp_path / "tree")


@pytest.mark.parametrize("recorded", [None, Fingerprint(34, 4, "cd")])
def test_an_unset_record_or_another_tree_names_the_counts_and_the_command(tmp_path, recorded):
    with pytest.raises(DataError, match="pillsnap fingerprint") as refusal:
        fingerprint.check(Fingerprint(12, 4, "ab"), recorded, Path("demo.json"), tmp_path)
    assert "12 photos and labels" in refusal.value.fact
    assert ("34" in refusal.value.fact) == (recorded is not None)


def test_the_committed_records_are_readable():
    paths = sorted(ROOT.glob("data/fingerprints/*.json"))
    assert [path.stem for path in paths] == ["demo", "stage1", "stage2", "stage3", "stage4"]
    for path in paths:
        fingerprint.read(path)
