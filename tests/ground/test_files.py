import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from make import bad_files
from make.bad_files import BAD_FILES, CONSISTENT
from pillsnap import files
from pillsnap.errors import CheckpointError, DataError, MachineError


def test_content_arrives_and_nothing_else_stays(tmp_path):
    files.write_text(tmp_path / "sub" / "가.txt", "알약\n")
    [path] = (tmp_path / "sub").iterdir()
    assert (path.name, path.read_bytes()) == ("가.txt", "알약\n".encode())
    files.write_json(path, {"이름": [1, 2.5, None, float("nan")]})
    assert files.read_json(path, "") == {"이름": [1, 2.5, None, None]}
    assert files.read_yaml(path, "") == {"이름": [1, 2.5, None, None]}


def test_paths_that_are_not_utf8_are_written_as_far_as_they_can_be_read(tmp_path):
    right, wrong = "알약".encode().decode("ascii", "surrogateescape"), os.fsdecode(b"\xbe\xcb.png")
    assert [files.utf8(right), files.utf8(wrong)] == ["알약", "\ufffd\ufffd.png"]
    files.write_json(tmp_path / "a.json", {"found": [{right: (wrong, 1.5, None)}]})
    found = files.read_json(tmp_path / "a.json", "")
    assert found == {"found": [{"알약": ["\ufffd\ufffd.png", 1.5, None]}]}


def test_a_folder_is_removed_or_that_it_cannot_be_is_said(tmp_path, monkeypatch):
    (tmp_path / "old/sub").mkdir(parents=True)
    (tmp_path / "old/sub/a").touch()
    with monkeypatch.context() as patched:
        patched.setattr("os.unlink", partial(fail, errno.EIO))
        with pytest.raises(OSError, match="Input/output error") as failed:
            files.remove_folder(tmp_path / "old")
    assert files.disk_fault(failed.value) is not None
    for _ in range(2):
        files.remove_folder(tmp_path / "old")
        assert not (tmp_path / "old").exists()


def fail(number, *_, **__):
    raise OSError(number, os.strerror(number))


def test_failure_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_but_no_file_that_is_being_written(tmp_path):
    names = [".a.11.tmp", ".b.12.tmp", ".b.tmp", "b.12.tmp"]
    for name in names:
        (tmp_path / name).write_text("half")
    with (tmp_path / ".b.12.tmp").open() as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        files.write_text(tmp_path / "c", "")
    assert {path.name for path in tmp_path.iterdir()} == {"c", *names[1:]}


def test_a_temporary_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, swept = fcntl.flock, []

    def flock(file, how):
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    files.write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole"
    assert swept


def test_threads_that_write_into_a_new_folder_leave_each_others_files(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        for number in range(300):
            folder = tmp_path / str(number)
            list(pool.map(lambda name, into=folder: files.write_text(into / name, name), "abcd"))
            assert sorted(path.name for path in folder.iterdir()) == list("abcd")


def test_a_folder_is_one_commands_at_a_time(tmp_path):
    with files.alone(tmp_path / "gallery"):
        with pytest.raises(MachineError, match="gallery") as refusal:
            files.alone(tmp_path / "gallery").__enter__()
        assert "Wait for it to end" in refusal.value.cure
    with files.alone(tmp_path / "gallery"):
        pass


READERS = [files.read_json, files.read_yaml, files.read_sealed_json]
REFUSED = [
    (reader, form)
    for reader in READERS
    for form in BAD_FILES
    if form not in CONSISTENT or reader is files.read_sealed_json
]


@pytest.mark.parametrize(("reader", "form"), REFUSED)
def test_a_bad_file_is_refused_with_its_name_and_the_cure(tmp_path, reader, form):
    path = bad_files.put(form, tmp_path / "file")
    with pytest.raises(CheckpointError) as refusal:
        reader(path, "Do this.", CheckpointError)
    assert str(path) in refusal.value.fact
    assert refusal.value.cure == "Do this."
    assert len(refusal.value.fact) < 500


def test_every_flipped_bit_of_sealed_json_is_noticed_or_means_the_same(tmp_path):
    path = tmp_path / "a"
    tree = {"b": [0.1, 12], "a": {"이름": "알약"}}
    files.write_sealed_json(path, tree)
    assert files.read_sealed_json(path, "") == tree
    content = path.read_bytes()
    for at in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(bytes(damaged))
        try:
            read = files.read_sealed_json(path, "")
        except DataError:
            continue
        assert read == tree


@dataclass
class Shape:
    name: str
    sides: tuple[int, ...]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"sides": [1]}, "name: Field required"),
        ({"name": "a", "sides": [1, "x"]}, r"sides\.1: Input should be a valid integer"),
        ({"name": None, "sides": []}, "name: Input should be a valid string"),
        ([], "its content: Input should be a dictionary"),
    ],
)
def test_a_tree_becomes_a_dataclass_or_is_refused_with_the_key(tmp_path, tree, words):
    more = {"name": "a", "sides": [1, 2], "more": 3}
    assert files.typed(more, Shape, tmp_path, "") == Shape("a", (1, 2))
    with pytest.raises(CheckpointError, match=words) as refusal:
        files.typed(tree, Shape, tmp_path, "Do this.", CheckpointError)
    assert refusal.value.fact.startswith(str(tmp_path))
