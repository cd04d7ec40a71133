"""Forms of damage that every reader of a user's file must refuse, each made in place of a file."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def put(form: str, path: Path) -> Path:
    _remove(path)
    BAD_FILES[form](path)
    return path


@contextmanager
def damaged(form: str, path: Path) -> Iterator[None]:
    aside = path.with_name(f".{path.name}.good")
    path.rename(aside)
    try:
        put(form, path)
        yield
    finally:
        _remove(path)
        aside.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _with(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a circle of links": lambda path: path.symlink_to(path),
    "longer than the disk": _huge,
    "empty": _with(b""),
    "blank": _with(b" \n\n"),
    "cut short": _with(b'{"a": {"b": [1, 2'),
    "NUL bytes": _with(bytes(64)),
    "a NUL among keys": _with(b'{"a": 1}\0'),
    "not UTF-8": _with(b'{"a": "\xb0\xa1"}'),
    "conflict markers": _with(b'<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> x\n'),
    "a list": _with(b"[]"),
    "null": _with(b"null"),
    "deep": _with(b"[" * 100_000),
    "deep keys": _with(b'{"a":' * 5_000),
    "two objects": _with(b'{"a": 1}\n{"a": 2}'),
}
CONSISTENT = {  # whole JSON objects, of which a reader that wants no particular key takes some
    "no keys": _with(b"{}"),
    "other keys": _with(b'{"format": 2, "sha256": 7, "kind": [], "pipeline": 1}'),
    "deeper than Python writes": _with(b'{"a":' * 1010 + b"1" + b"}" * 1010),
}
BAD_FILES |= CONSISTENT
