"""The work store: consistent after a kill, and its bytes are verified."""

import sqlite3
from threading import Event, Thread

import pytest

from pillsnap.errors import DataError, MachineError
from pillsnap.validation.work_store import Hashes, Kind, Prepared, PreparedPicture, WorkStore

LARGE = 2**64 - 3


def photo(key: str, *kinds: Kind) -> Prepared:
    pictures = [PreparedPicture(Kind.CROP, b"one", 5), PreparedPicture(Kind.CROP, b"two", LARGE)]
    return Prepared(
        key, f"c{key}", f"p{key}", (*pictures, *(PreparedPicture(k, b"x") for k in kinds))
    )


def test_photos_come_back_in_order_also_after_reopening_until_replaced(tmp_path):
    with WorkStore(tmp_path / "a.sqlite") as store:
        store.add([photo("k", Kind.FRAME), photo("l", Kind.DETECTION)])
    with WorkStore(tmp_path / "a.sqlite") as store:
        assert store.jpegs("k", Kind.CROP) == [b"one", b"two"]
        assert store.jpegs("k", Kind.FRAME) == [b"x"]
        assert store.hashes()["k"] == Hashes("ck", "pk", (5, LARGE))
        kinds = {"k": {Kind.CROP, Kind.FRAME}, "l": {Kind.CROP, Kind.DETECTION}}
        assert store.kinds() == kinds
        store.add([photo("k")])
        assert store.jpegs("k", Kind.CROP) == [b"one", b"two"]
        assert store.jpegs("k", Kind.FRAME) == []


def test_a_failed_chunk_leaves_nothing_behind(tmp_path):
    broken = Prepared("l", "c", "p", (PreparedPicture(Kind.CROP, None),))  # type: ignore[arg-type]
    with WorkStore(tmp_path / "a.sqlite") as store:
        with pytest.raises(TypeError):
            store.add([photo("k"), broken])
        assert store.kinds() == {}


def test_unused_photos_and_other_recipes_are_deleted(tmp_path):
    with WorkStore(tmp_path / "other.sqlite") as store:
        store.add([photo("k")])
    with WorkStore(tmp_path / "a.sqlite") as store:
        store.add([photo("k"), photo("l")])
        store.keep_only(["l"])
        assert store.kinds().keys() == {"l"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_file_that_is_not_a_store_is_replaced(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"nothing of the kind" * 100)
    with WorkStore(tmp_path / "a.sqlite") as store:
        store.add([photo("k")])
        assert store.kinds().keys() == {"k"}


def test_changed_bytes_are_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    with WorkStore(path) as store:
        store.add([photo("k")])
    with sqlite3.connect(path) as database:
        database.execute("update pictures set jpeg = ? where position = 0", (b"onf",))
    database.close()
    with WorkStore(path) as store, pytest.raises(DataError, match="have changed"):
        store.jpegs("k", Kind.CROP)


def test_a_store_is_used_by_one_process_at_a_time(tmp_path):
    with WorkStore(tmp_path / "a.sqlite") as store:
        store.add([photo("k")])
        with pytest.raises(MachineError, match="validate is already running"):
            WorkStore(tmp_path / "a.sqlite").__enter__()
        assert store.kinds().keys() == {"k"}


def test_experiments_of_a_queue_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    monkeypatch.setattr("pillsnap.validation.work_store.BUSY_TIMEOUT_S", 0.01)
    entered = Event()

    def second():
        with WorkStore(tmp_path / "a.sqlite"):
            entered.set()

    with WorkStore(tmp_path / "a.sqlite"):
        waiting = Thread(target=second)
        waiting.start()
        assert not entered.wait(0.1)
    waiting.join(timeout=60)
    assert entered.is_set()


def test_a_lost_page_is_named(tmp_path):
    path = tmp_path / "a.sqlite"
    with WorkStore(path) as store:
        store.add(photo(f"{number:0900}") for number in range(400))
    content = bytearray(path.read_bytes())
    content[8192:-8192] = bytes(len(content) - 16384)
    path.write_bytes(content)
    with pytest.raises(DataError, match="have changed"), WorkStore(path) as store:
        store.hashes()


def test_a_full_disk_and_a_store_that_cannot_be_opened_are_named(tmp_path):
    with pytest.raises(MachineError, match=f"{tmp_path} cannot be written or read: unable to open"):
        WorkStore(tmp_path).__enter__()
    path = tmp_path / "a.sqlite"
    with pytest.raises(MachineError, match="disk is full"), WorkStore(path) as store:
        store._database.execute("pragma max_page_count = 20")
        store.add(photo(f"{number:0900}") for number in range(400))
    with WorkStore(path) as store:
        assert store.kinds() == {}
