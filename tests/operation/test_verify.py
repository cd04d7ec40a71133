"""verify: every changed byte on disk is named, sound files are not."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml

from make.download import flip_bit
from make.photo_set import PhotoSet, make, pack
from pillsnap.operation.verify import Inspection, verify
from pillsnap.training import checkpoints


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Repository:
    """A repository after a run: photos, outs under dvc.lock, a cache, a checkpoint."""

    def __init__(self, base: Path) -> None:
        self.photos: PhotoSet = make(base)
        self.photos.run()
        self.base = base
        self.places = self.photos.places
        self.cache = base / ".dvc" / "cache" / "files" / "md5"
        self.weights = self.places.artifacts_dir / "checkpoints" / "demo_best.pt"
        checkpoints.publish(self.weights, {"w": torch.arange(4.0)}, {"classes": 3})
        outs = [
            self._folder("data/crops"),
            self._folder("data/detection"),
            self._file("artifacts/checkpoints/demo_best.pt"),
        ]
        lock = {"schema": "2.0", "stages": {"validate": {"cmd": "x", "outs": outs}}}
        (base / "dvc.lock").write_text(yaml.safe_dump(lock))

    def _store(self, content: bytes, ending: str = "") -> str:
        name = md5(content) + ending
        path = self.cache / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    def _file(self, path: str) -> dict[str, str]:
        return {"path": path, "hash": "md5", "md5": self._store((self.base / path).read_bytes())}

    def _folder(self, path: str) -> dict[str, str]:
        folder = self.base / path
        listing = [
            {"md5": self._store(file.read_bytes()), "relpath": file.relative_to(folder).as_posix()}
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        ]
        return {"path": path, "md5": self._store(json.dumps(listing).encode(), ".dir")}

    def verify(self, root: bool = True) -> Inspection:
        return verify(
            self.base,
            self.places.root if root else None,
            self.places.data_dir,
            self.places.artifacts_dir,
            lambda done, total: None,
        )

    def damaged(self) -> set[str]:
        return {str(Path(d.path).relative_to(self.base)) for d in self.verify().damages}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_flipped_bit_inside_an_archive_is_found(repository: Repository) -> None:
    photos = repository.photos
    pack(photos)
    photos.run()
    path = photos.path(photos.photo("val"))
    assert not [one for one in repository.verify().damages if ".zip" in one.path]
    flip_bit(path)
    [damage] = [one for one in repository.verify().damages if ".zip" in one.path]
    assert damage.path == str(path)
    assert "damaged archive: " in damage.fact


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_untouched_repository_is_whole(repository: Repository) -> None:
    found = repository.verify()
    assert found.damages == ()
    assert found.photos == 28
    assert found.checkpoints == 1
    assert found.outs > 20
    assert found.cache_files > 20


def test_a_flipped_bit_in_a_photo_is_named(repository: Repository) -> None:
    path = repository.photos.photo("val")
    flip(repository.photos.path(path))
    assert repository.damaged() == {f"root/{path}"}


def test_a_photo_that_is_gone_is_named(repository: Repository) -> None:
    path = repository.photos.photo("train", "combination")
    repository.photos.path(path).unlink()
    assert repository.damaged() == {f"root/{path}"}


def test_without_the_data_root_photos_are_not_looked_at(repository: Repository) -> None:
    flip(repository.photos.path(repository.photos.photo("val")))
    found = repository.verify(root=False)
    assert (found.photos, found.damages) == (0, ())


@pytest.mark.parametrize("name", ["crops/train.arrow", "detection/dataset.yaml"])
def test_a_flipped_bit_in_an_out_is_named(repository: Repository, name: str) -> None:
    flip(repository.places.data_dir / name)
    assert f"data/{name}" in repository.damaged()


def test_a_file_too_many_or_too_few_in_an_out_is_named(repository: Repository) -> None:
    labels = repository.places.data_dir / "detection" / "labels" / "val"
    (labels / "new.txt").write_text("")
    gone = sorted(labels.glob("K-*"))[0]
    gone.unlink()
    assert repository.damaged() == {
        "data/detection/labels/val/new.txt",
        f"data/detection/labels/val/{gone.name}",
    }


def test_a_flipped_bit_in_the_cache_is_named(repository: Repository) -> None:
    file = sorted(path for path in repository.cache.glob("??/*") if path.suffix != ".dir")[3]
    flip(file)
    assert repository.damaged() == {str(file.relative_to(repository.base))}


def test_a_damaged_folder_listing_is_named(repository: Repository) -> None:
    listing = sorted(repository.cache.glob("??/*.dir"))[0]
    listing.write_bytes(b"{")
    assert repository.damaged() == {str(listing.relative_to(repository.base))}


def test_a_flipped_bit_in_a_checkpoint_is_named(repository: Repository) -> None:
    flip(repository.weights)
    assert repository.damaged() == {"artifacts/checkpoints/demo_best.pt"}


def test_crops_that_cannot_be_opened_are_named(repository: Repository) -> None:
    path = repository.places.data_dir / "crops" / "val.arrow"
    path.write_bytes(path.read_bytes()[:200])
    assert repository.damaged() == {"data/crops/val.arrow"}


def test_a_lock_file_that_is_none_is_named(repository: Repository) -> None:
    (repository.base / "dvc.lock").write_text("stages: 3")
    assert repository.damaged() == {"dvc.lock"}


def test_every_damage_has_a_cure(repository: Repository) -> None:
    flip(repository.weights)
    repository.photos.path(repository.photos.photo("val")).unlink()
    assert all(damage.cure and damage.fact for damage in repository.verify().damages)
