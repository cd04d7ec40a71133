"""validate on unusual trees: file names, links, loops, a read-only root."""

import stat
import unicodedata
from pathlib import Path

import pytest

from make.download import flip_bit
from make.photo_set import pack
from pillsnap.dataset.crops import CropStore


def tree_of(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (status.st_mode, status.st_mtime_ns, path.read_bytes() if file else b"")
        for path in sorted(root.rglob("*"))
        for status, file in [(path.stat(), path.is_file())]
    }


def test_nothing_is_written_to_the_data_root(photos):
    root = photos.places.root
    for path in [root, *root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = tree_of(root)
    try:
        photos.run()
        assert tree_of(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


@pytest.mark.parametrize(
    ("disk", "folder"),
    [
        ("NFC", "한글 폴더"),
        ("NFC", "quote'\"<&>,;"),
        pytest.param("NFC", "약" * 85, id="255 bytes of Korean"),
        ("NFD", "알약"),
        ("NFC", unicodedata.normalize("NFD", "알약")),
    ],
)
def test_unusual_and_otherwise_spelt_folder_names_change_nothing(photos, disk, folder):
    old = photos.photo("train")
    new = f"train/images/single/{folder}/{Path(old).name}"
    path = photos.path(unicodedata.normalize(disk, new))
    path.parent.mkdir(parents=True)
    photos.path(old).rename(path)
    photos.rows["image_path"] = photos.rows["image_path"].replace(old, new)
    photos.write()
    photos.run()
    assert photos.rejected() == []
    store = CropStore(photos.places.data_dir / "crops" / "train.arrow")
    assert new in set(store.table["image_path"])


@pytest.mark.parametrize("kind", ["label", "image"])
def test_a_name_too_long_for_the_disk_is_one_finding(photos, kind):
    row = photos.rows.index[photos.rows["image_path"] == photos.photo("train")][0]
    long = photos.rows.loc[row, f"{kind}_path"].replace("K-0", "x" * 300 + "/K-0", 1)
    photos.rows.loc[row, f"{kind}_path"] = long
    photos.write()
    photos.run()
    assert photos.rejected() == ([(long, "photo_unreadable")] if kind == "image" else [])
    assert photos.check("label_missing")["count"] == (kind == "label")


def test_photos_in_archives_give_the_same_pictures_and_are_read_once(photos):
    photos.run()
    names = ("mapping_code", "box_x", "content_hash", "jpeg")
    path = photos.places.data_dir / "crops" / "train.arrow"
    first = CropStore(path).arrow.select(names).to_pylist()
    pack(photos)
    photos.run(num_workers=2)
    assert photos.rejected() == [] and photos.check("label_missing")["count"] == 0
    found = CropStore(path).arrow.select(names).to_pylist()
    assert sorted(found, key=str) == sorted(first, key=str)
    photos.run()
    assert photos.decoded == 0


def test_a_flipped_bit_and_a_lost_archive_reject_their_photos_alone(photos):
    pack(photos)
    victim = photos.photo("train")
    flip_bit(photos.path(victim))
    photos.path("val/images/combination/VS_1_combination.zip").unlink()
    photos.run()
    lost = {path for path in photos.rows["image_path"] if "VS_1_combination" in path}
    expected = [*((path, "photo_missing") for path in lost), (victim, "photo_unreadable")]
    assert photos.rejected() == sorted(expected)
    assert "damaged archive" in photos.check("photo_unreadable")["examples"][0]
