"""Files are whole or absent."""

import pytest

from pillsnap import atomic


def test_content_arrives_and_nothing_else_stays(tmp_path):
    atomic.write_text(tmp_path / "sub" / "가.txt", "알약\n")
    assert (tmp_path / "sub" / "가.txt").read_bytes() == "알약\n".encode()
    assert len(list((tmp_path / "sub").iterdir())) == 1


def test_failure_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert atomic.sha256_of(tmp_path / "a") == expected
