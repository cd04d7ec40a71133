"""verify: every changed byte on disk is named, sound files are not."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from make import bit_flips
from make.download import flip_bit
from make.photo_set import make, pack
from make.tiny_project import run
from pillsnap.operation.verify import verify
from pillsnap.stage import engines
from pillsnap.stage.engines import Engine
from pillsnap.training import checkpoints

WEIGHTS = "artifacts/checkpoints/demo_best.pt"


class Repository:
    """A repository after a run: photos, outs under dvc.lock, a cache, a checkpoint."""

    def __init__(self, base):
        self.photos = make(base)
        self.photos.run()
        self.base, self.places = base, self.photos.places
        self.cache = base / ".dvc/cache/files/md5"
        checkpoints.publish(base / WEIGHTS, {"w": torch.arange(4.0)}, {"classes": 3})
        outs = f"-o {WEIGHTS} -o data/crops -o data/detection"
        add = f"dvc stage add -q -n validate {outs} true"
        run(base, "sh", "-ec", f"dvc init -q --no-scm; {add}; dvc commit -q -f")

    def verify(self, root=True, engine=None):
        root = self.places.root if root else None
        folders = self.places.data_dir, self.places.artifacts_dir
        return verify(self.base, root, *folders, engine or Engine(processes=1), lambda *_: None)

    def damaged(self, engine=None):
        damages = self.verify(engine=engine).damages
        assert all(damage.cure and damage.fact for damage in damages)
        return {str(Path(damage.path).relative_to(self.base)) for damage in damages}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def repository(made):
    """The same one for every test, put back after it."""
    kept, rows = made.base.with_name("kept"), made.photos.rows.copy()
    shutil.copytree(made.base, kept)
    yield made
    made.photos.rows = rows
    shutil.rmtree(made.base)
    kept.rename(made.base)


def test_a_flipped_bit_inside_an_archive_is_found(repository):
    photos = repository.photos
    pack(photos)
    photos.run()
    path = photos.path(photos.photo("val"))
    assert not [one for one in repository.verify().damages if ".zip" in one.path]
    flip_bit(path)
    [damage] = [one for one in repository.verify().damages if ".zip" in one.path]
    assert damage.path == str(path)
    assert "damaged archive: " in damage.fact


def flip(path):
    path.write_bytes(next(bit_flips.flipped(path.read_bytes(), 1)))


def test_an_untouched_repository_is_whole(repository):
    found = repository.verify()
    assert (found.damages, found.counts["photos"], found.counts["checkpoints"]) == ((), 28, 1)
    assert min(found.counts["outs"], found.counts["cache files"]) > 20


def test_a_photo_that_changed_or_is_gone_is_named(repository, monkeypatch):
    changed, gone = repository.photos.photo("val"), repository.photos.photo("train", "combination")
    flip(repository.photos.path(changed))
    repository.photos.path(gone).unlink()
    assert repository.damaged() == {f"root/{changed}", f"root/{gone}"}
    with ThreadPoolExecutor(2) as threads:
        monkeypatch.setattr("pillsnap.operation.verify.CHUNK", 5)
        monkeypatch.setattr(engines, "_dask", lambda url: nullcontext((threads.submit, 2)))
        far = repository.damaged(Engine("dask://host:1"))
        assert repository.verify().counts == repository.verify(engine=Engine("dask://h:1")).counts
    assert far == {f"root/{changed}", f"root/{gone}"}
    found = repository.verify(root=False)  # without the data root, photos are not checked
    assert (found.counts["photos"], found.damages) == (0, ())


def test_outs_that_were_changed_added_or_removed_are_named(repository):
    labels = repository.base / "data/detection/labels/val"
    gone = min(labels.glob("K-*"))
    gone.unlink()
    (labels / "new.txt").touch()
    changed = [repository.base / name for name in ("data/crops/train.arrow", WEIGHTS)]
    for path in changed:
        flip(path)
    named = {str(path.relative_to(repository.base)) for path in [*changed, gone]}
    assert repository.damaged() == named | {"data/detection/labels/val/new.txt"}


@pytest.mark.parametrize("name", ["a cache file", "a listing", "data/crops/val.arrow", "dvc.lock"])
def test_a_file_that_cannot_be_read_is_named(repository, name):
    listings = sorted(repository.cache.glob("??/*"), key=lambda path: path.suffix == ".dir")
    path = {"a cache file": listings[0], "a listing": listings[-1]}.get(name)
    path = path or repository.base / name
    path.chmod(0o644)  # DVC's own are read-only
    path.write_bytes(b"{" if path in listings else b"stages: 3")
    assert repository.damaged() == {str(path.relative_to(repository.base))}
