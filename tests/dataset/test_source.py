import io
import os
import unicodedata
import zipfile
from contextlib import suppress
from zipfile import ZIP_BZIP2, ZIP_LZMA, ZipFile

import pytest
from hypothesis import given, settings

from make.damage import SEEDS, damaged
from make.download import Cp949, flip_bit
from pillsnap.dataset import source


@pytest.fixture(params=[zipfile.ZIP64_LIMIT, 1], ids=["zip", "zip64"])
def archive(tmp_path, monkeypatch, request):
    path = tmp_path / "TS_1.ZIP"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", request.param)  # of what is written as zip64
    with ZipFile(path, "w") as file:
        file.writestr("K-000001/", b"")
        file.writestr("K-000001/a.png", b"photo", ZIP_BZIP2)
        file.writestr(Cp949("알약/b.png"), b"second")
        file.writestr("가/utf8.png", b"third")
    monkeypatch.undo()
    assert (b"PK\6\6" in path.read_bytes()) == (request.param == 1)
    return path


@pytest.mark.parametrize(
    ("member", "content"),
    [("K-000001/a.png", b"photo"), ("알약/b.png", b"second"), ("가/utf8.png", b"third")],
)
def test_a_member_is_read_by_its_path(archive, member, content):
    assert source.read(archive / member, len(content)) == content
    with pytest.raises(source.TooLargeError, match=f"{len(content)} bytes"):
        source.read(archive / member, len(content) - 1)
    assert source.status(archive / member).size == len(content)
    assert source.members(str(archive))[member] == len(content)
    assert source.on_disk(archive / member) == str(archive)


@pytest.mark.parametrize("path", ["TS_1.ZIP/K-000001/c.png", "TS_2.zip/a.png", "none/a.png"])
def test_what_is_not_there_is_a_missing_file(archive, path):
    with pytest.raises(FileNotFoundError):
        source.read(archive.parent / path, 9)
    [status] = source.statuses([archive.parent / path])
    assert isinstance(status, FileNotFoundError)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "loop"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind in ("folder", "fifo"):
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(OSError, match=r"not a regular file|Is a directory|Too many levels"):
        source.read(path, 10**6)


def test_a_folder_may_be_named_like_an_archive(tmp_path):
    (tmp_path / "old.zip/TS_1.zip").mkdir(parents=True)
    (tmp_path / "old.zip/TS_1.zip/a.png").write_bytes(b"plain")
    assert source.read(tmp_path / "old.zip/TS_1.zip/a.png", 9) == b"plain"
    assert source.status(tmp_path / "old.zip/TS_1.zip/a.png").size == 5


def test_statuses_are_in_order_and_an_archive_replaced_meanwhile_is_opened_anew(archive):
    (archive.parent / "c.png").write_bytes(b"1234")
    paths = [archive.parent / "c.png", archive / "알약/b.png", archive.parent / "c.png"]
    assert [one.size for one in source.statuses(paths)] == [4, 6, 4]
    assert source.read(archive / "K-000001/a.png", 9) == b"photo"
    with ZipFile(archive, "w") as file:
        file.writestr("K-000001/a.png", b"another")
    assert source.read(archive / "K-000001/a.png", 9) == b"another"


def test_flipped_bits_and_encrypted_members_are_refused(tmp_path):
    path = tmp_path / "TS_1.zip"
    with ZipFile(path, "w") as file:
        file.writestr("a.png", b"x" * 100)
    flip_bit(path / "a.png")
    with pytest.raises(OSError, match="damaged archive: Bad CRC-32"):
        source.read(path / "a.png", 100)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="encrypted"):
        source.read(path / "a.png", 100)


@settings(max_examples=300, deadline=5000)
@given(SEEDS)
def test_any_damaged_archive_gives_whole_members_or_oserror(tmp_path_factory, chance):
    whole, content = bytes(range(256)) * 2, io.BytesIO()
    with ZipFile(content, "w") as file:
        for kind in (0, ZIP_BZIP2, ZIP_LZMA):
            file.writestr(f"약/{kind}.png", whole, kind)
    path = tmp_path_factory.mktemp("damaged") / "TS_1.zip"
    path.write_bytes(damaged(content.getvalue(), chance))
    with suppress(OSError):
        for name in source.members(str(path)):
            with suppress(OSError):
                assert source.read(path / name, 1000) == whole


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_korean_paths_are_found_in_both_spellings(tmp_path, disk, asked):
    name = "약 사진/조합 1/알약.png"
    path = tmp_path / unicodedata.normalize(disk, name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    found = source.locate(tmp_path / unicodedata.normalize(asked, name))
    assert found.read_bytes() == b"x"
    nowhere = tmp_path / "가" / "b.png"
    assert source.locate(nowhere) == nowhere
