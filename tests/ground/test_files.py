"""Files are whole or absent."""

import os

import pytest

from pillsnap import files
from pillsnap.errors import CheckpointError, DataError


def test_content_arrives_and_nothing_else_stays(tmp_path):
    files.write_text(tmp_path / "sub" / "가.txt", "알약\n")
    assert (tmp_path / "sub" / "가.txt").read_bytes() == "알약\n".encode()
    assert len(list((tmp_path / "sub").iterdir())) == 1


def test_failure_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of(tmp_path / "a") == expected


def no_file(path):
    return path


def with_content(content):
    def make(path):
        path.write_bytes(content)
        return path

    return make


def folder(path):
    path.mkdir()
    return path


def pipe(path):
    os.mkfifo(path)
    return path


def link_in_a_circle(path):
    path.symlink_to(path)
    return path


def unreadable_in_utf8(path):
    path.write_bytes(b'{"a": "\xb0\xa1"}')
    return path


def endless(path):
    path.symlink_to("/dev/zero")
    return path


def huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


BAD_FILES = {
    "absent": no_file,
    "a folder": folder,
    "a pipe": pipe,
    "a device": endless,
    "a circle of links": link_in_a_circle,
    "longer than the disk": huge,
    "empty": with_content(b""),
    "blank": with_content(b" \n\n"),
    "cut short": with_content(b'{"a": {"b": [1, 2'),
    "NUL bytes": with_content(bytes(64)),
    "a NUL among keys": with_content(b'{"a": 1}\0'),
    "not UTF-8": unreadable_in_utf8,
    "conflict markers": with_content(b'<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> x\n'),
    "a list": with_content(b"[]"),
    "a number": with_content(b"7"),
    "null": with_content(b"null"),
    "text": with_content(b'"a"'),
    "deep": with_content(b"[" * 100_000),
    "deep keys": with_content(b'{"a":' * 5_000),
    "two objects": with_content(b'{"a": 1}\n{"a": 2}'),
}
READERS = [files.read_json, files.read_yaml, files.read_sealed_json]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("form", BAD_FILES)
def test_a_bad_file_is_refused_with_its_name_and_the_cure(tmp_path, reader, form):
    path = BAD_FILES[form](tmp_path / "file")
    with pytest.raises(CheckpointError) as refusal:
        reader(path, "Do this.", CheckpointError)
    assert str(path) in refusal.value.fact
    assert refusal.value.cure == "Do this."
    assert len(refusal.value.fact) < 500


def test_json_comes_back(tmp_path):
    files.write_json(tmp_path / "a", {"이름": [1, 2.5, None, float("nan")]})
    assert files.read_json(tmp_path / "a", "") == {"이름": [1, 2.5, None, None]}
    assert files.read_yaml(tmp_path / "a", "") == {"이름": [1, 2.5, None, None]}


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
