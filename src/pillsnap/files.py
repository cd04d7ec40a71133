"""Files: written whole or not at all, read with bounds, and refused in one way when damaged."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml

from pillsnap.errors import DataError, UserError

Json = dict[str, Any]

LARGEST_BYTES = 1 << 28  # no JSON or YAML of ours comes near
CONFLICT_MARKERS = (b"<<<<<<< ", b">>>>>>> ")
SEAL = "sha256"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on leaving without an error it becomes `path`, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_dir(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with `\\n` line ends to `path` whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, tree: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write indented JSON with a final line end; NaN becomes null."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    write_bytes(path, orjson.dumps(tree, option=options))


def read_bytes(path: Path, cure: str, error: type[UserError] = DataError) -> bytes:
    """The content of a regular file of at most LARGEST_BYTES; `error` with the `cure` otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for a writer
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path} is not a file.", cure)
            if status.st_size > LARGEST_BYTES:
                raise error(f"{path} is {status.st_size:,} bytes long: damaged.", cure)
            return file.read(LARGEST_BYTES)
    except FileNotFoundError:
        raise error(f"{path} is missing.", cure) from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}.", cure) from None


def read_json(path: Path, cure: str, error: type[UserError] = DataError) -> Json:
    """A JSON object; `error` with the `cure` for whatever else the file holds."""
    content = read_bytes(path, cure, error)
    try:
        tree = orjson.loads(content)
    except (orjson.JSONDecodeError, RecursionError) as problem:
        raise error(f"{path} is not JSON: {_why(content, problem)}.", cure) from None
    return _mapping(tree, path, cure, error)


def read_yaml(path: Path, cure: str, error: type[UserError] = DataError) -> Json:
    """A YAML mapping; `error` with the `cure` for whatever else the file holds."""
    content = read_bytes(path, cure, error)
    try:
        tree = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise error(f"{path} is not YAML: {_why(content, problem)}.", cure) from None
    return _mapping(tree, path, cure, error)


def write_sealed_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON that carries its own sha256; equal values give equal bytes."""
    plain = json.loads(json.dumps(tree, allow_nan=False))
    sealed = {**plain, SEAL: _seal(plain)}
    write_text(path, json.dumps(sealed, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_sealed_json(path: Path, cure: str, error: type[UserError] = DataError) -> Json:
    """What `write_sealed_json` wrote; `error` with the `cure` when a single bit differs."""
    tree = read_json(path, cure, error)
    if tree.pop(SEAL, None) != _seal(tree):
        raise error(f"{path} is damaged: its sha256 does not match its content.", cure)
    return tree


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(tree: Json) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _mapping(tree: Any, path: Path, cure: str, error: type[UserError]) -> Json:
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return tree
    found = "nothing" if tree is None else f"a {type(tree).__name__}"
    raise error(f"{path} holds {found} instead of keys and values.", cure)


def _why(content: bytes, problem: Exception) -> str:
    """The first line of what the parser said, or a plainer word for the usual accidents."""
    if not content.strip():
        return "it is empty"
    if any(marker in content for marker in CONFLICT_MARKERS):
        return "it holds git's conflict markers"
    return (str(problem).splitlines() or [type(problem).__name__])[0][:200]


def _sync_dir(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
