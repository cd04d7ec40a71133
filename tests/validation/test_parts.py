"""Parts of an array: joined to the bytes of one run, or refused with a cure that works."""

import os
import shutil
from pathlib import Path

import pytest

from make.photo_set import make
from pillsnap.errors import DataError, ParameterError
from pillsnap.validation import parts
from pillsnap.validation.parts import Part
from pillsnap.validation.prepare import FrameTask, Recipe
from pillsnap.validation.validate import read_part


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outs of one ordinary run, and its folder without outs and work stores."""
    photos = make(tmp_path_factory.mktemp("photos") / "set")
    photos.run()
    outs = photos.outs()
    shutil.rmtree(photos.places.work_dir)
    shutil.rmtree(photos.places.data_dir)
    return photos, outs


@pytest.fixture
def photos(undisturbed, tmp_path):
    """A copy, with the times of the photos."""
    made = undisturbed[0]
    shutil.copytree(made.base, tmp_path / "set")
    return type(made)(tmp_path / "set", made.params, made.rows)


def read(photos, *texts, **changes):
    for text in texts:
        part, params = parts.parse(text), photos.with_(**changes)
        read_part(photos.places, params, part, lambda done, total: None)


@pytest.mark.parametrize("count", [1, 3])
def test_joined_parts_give_the_bytes_of_one_run(photos, undisturbed, count):
    read(photos, *(f"{number}/{count}" for number in range(count, 0, -1)))
    photos.run()
    assert photos.decoded == 0
    assert photos.outs() == undisturbed[1]
    assert len(list(photos.places.work_dir.iterdir())) == 1  # the parts are gone
    photos.run()
    assert photos.decoded == 0


def test_parts_are_joined_again_after_a_run_that_did_not_end(photos, undisturbed, monkeypatch):
    read(photos, "1/2", "2/2")
    monkeypatch.setattr("pillsnap.validation.validate.write_all", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        photos.run()
    monkeypatch.undo()
    photos.run()
    assert photos.decoded == 0
    assert photos.outs() == undisturbed[1]


def test_a_damaged_photo_is_rejected_as_in_one_run(photos):
    photos.path(photos.photo("train")).write_bytes(b"")
    read(photos, "1/2", "2/2")
    photos.run()
    assert photos.decoded == 1
    assert photos.check("photo_damaged")["count"] == 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "-1/2", ""])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(ParameterError, match="is not I/N") as refused:
        parts.parse(text)
    assert [str(parts.parse(word)) for word in ("1/3", "3/3") if word in refused.value.cure]


def missing(photos):
    read(photos, "1/3", "3/3")


def unfinished(photos):
    missing(photos)
    Part(2, 3).store(photos.places.work_dir, Recipe.of(photos.params).pictures_version).touch()


def other_recipe(photos):
    read(photos, "2/3", jpeg_quality=50)
    missing(photos)


def other_photo(photos):
    read(photos, "1/3", "2/3", "3/3")
    os.utime(photos.path(photos.photo("train")), (1, 1))


def other_manifest(photos):
    read(photos, "1/3", "2/3", "3/3")
    photos.rows.loc[photos.rows["split"] == "train", "box_w"] -= 1
    photos.write()


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (missing, ["2/3 is missing"]),
        (unfinished, ["2/3 is not finished"]),
        (other_recipe, ["2/3 is of other parameters or versions"]),
        (other_photo, ["/3 is of another manifest, or of photos with"]),
        (other_manifest, [f"{number}/3 is of another manifest, or of" for number in (1, 2, 3)]),
    ],
)
@pytest.mark.parametrize("cure", ["read the parts", "delete the parts"])
def test_parts_that_cannot_be_joined_are_refused_until_the_cure(photos, change, faults, cure):
    change(photos)
    with pytest.raises(DataError) as refused:
        photos.run()
    lines = refused.value.fact.splitlines()[1:]
    assert all(fault in line for fault, line in zip(faults, lines, strict=True))
    named = [line.split()[1] for line in lines]
    assert refused.value.cure.startswith(f"pillsnap validate --part {named[0]} and so for each")
    assert f"rm {photos.places.work_dir}/*.part-*, then dvc repro" in refused.value.cure
    if cure == "read the parts":
        read(photos, *named)
    else:
        for path in photos.places.work_dir.glob("*.part-*"):
            path.unlink()
    photos.run()
    assert (photos.decoded == 0) == (cure == "read the parts")
    assert len(list(photos.places.work_dir.iterdir())) == 1


def test_complete_parts_of_two_counts_are_joined(photos, undisturbed):
    read(photos, "1/2", "2/2", "1/3")
    with pytest.raises(DataError, match="part 2/3 is missing\n  part 3/3 is missing"):
        photos.run()
    read(photos, "2/3", "3/3")
    photos.run()
    assert photos.decoded == 0
    assert photos.outs() == undisturbed[1]


def test_parts_of_paths_are_balanced():
    names = (f"TS_1_single/K-{n % 500:06d}/K-{n % 500:06d}_{n}.png" for n in range(30000))
    tasks = [FrameTask(name, Path(name), (), (1, 1), frozenset()) for name in names]
    sizes = [len(share) for share in parts.split(tasks, 3)]
    assert sum(sizes) == 30000
    assert max(sizes) < 1.02 * 10000


def test_a_part_reports_progress_of_its_own_photos(photos):
    steps = []
    read_part(photos.places, photos.params, Part(1, 2), lambda *step: steps.append(step))
    assert 0 < steps[-1][0] == steps[-1][1] < len(set(photos.rows["image_path"]))
