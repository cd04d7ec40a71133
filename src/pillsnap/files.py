"""Files: written whole or not at all, read with bounds, and refused in one way when damaged."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pillsnap.errors import DataError, MachineError, UserError, reason_of

Json = dict[str, Any]
T = TypeVar("T")

LARGEST_BYTES = 1 << 28  # no JSON or YAML of ours comes near
DEEPEST_YAML = 32  # levels; dvc.yaml has 6
LARGEST_YAML_BYTES = 1 << 16  # up to 1 s to read; dvc.lock has 26 KB
LARGEST_MODEL_BYTES = 1 << 33  # no checkpoint or graph of ours comes near
CONFLICT_MARKERS = (b"<<<<<<< ", b">>>>>>> ")
SEAL = "sha256"
TEMPORARY = re.compile(r"\..+\.[0-9]+\.tmp")  # of `replacing`


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on leaving without an error it becomes `path`, else it is removed.

    Temporary files that killed processes left in the folder are removed: a living one is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.resolve())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _locked_file(temporary):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_dir(path.parent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, no other process is; MachineError where one is already."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MachineError(
                    f"Another command is writing into {folder.resolve()}.",
                    "Wait for it to end, then repeat this one.",
                ) from None
        yield
    finally:
        os.close(descriptor)


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
    write_bytes(path, json_bytes(tree, options))


def json_bytes(tree: Any, options: int = 0) -> bytes:
    """JSON in UTF-8, also where texts hold paths that are not (`utf8`)."""
    try:
        return orjson.dumps(tree, option=options)
    except TypeError:
        return orjson.dumps(utf8(tree), option=options)


def utf8(tree: Any) -> Any:
    """A text, or the texts in lists and dicts, as UTF-8. Python keeps the bytes of a path that it
    cannot decode as surrogates: the path is right again if only the locale was wrong (C), and has
    U+FFFD for bytes of another encoding (a zip from Windows)."""
    if isinstance(tree, str):
        return tree.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(tree, Mapping):
        return {utf8(key): utf8(value) for key, value in tree.items()}
    return [utf8(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def remove_folder(path: Path) -> None:
    """Remove a folder with all it holds, if it is there; OSError where that fails, so that nothing
    is added to what was to go."""
    if path.exists():
        shutil.rmtree(path)


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; OSError for anything else, without waiting for a writer."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


@contextmanager
def opened(
    path: Path, cure: str, error: type[UserError] = DataError, largest: int = LARGEST_BYTES
) -> Iterator[BufferedReader]:
    """A regular file of at most `largest` bytes, open for reading; `error` with the `cure` where
    it is none, and where reading it fails."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise error(f"{path} is {size:,} bytes long: damaged.", cure)
            yield file
    except FileNotFoundError:
        raise error(f"{path} is missing.", cure) from None
    except IsADirectoryError:
        raise error(f"{path} is not a file.", cure) from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}.", cure) from None


def read_bytes(
    path: Path, cure: str, error: type[UserError] = DataError, largest: int = LARGEST_BYTES
) -> bytes:
    """The content of a regular file of at most `largest` bytes; `error` with the `cure`
    otherwise."""
    with opened(path, cure, error, largest) as file:
        return file.read(largest)


def read_json(path: Path, cure: str, error: type[UserError] = DataError) -> Json:
    """A JSON object; `error` with the `cure` for whatever else the file holds."""
    content = read_bytes(path, cure, error)
    try:
        tree = orjson.loads(content)
    except (orjson.JSONDecodeError, RecursionError) as problem:
        raise error(f"{path} is not JSON: {_why(content, problem)}.", cure) from None
    return _mapping(tree, path, cure, error)


def read_yaml(path: Path, cure: str, error: type[UserError] = DataError) -> Json:
    """A YAML 1.2 mapping, read as DVC does; `error` with the `cure` for whatever else it holds.

    `off` is a text, `1e-3` a number, `1_000` a thousand; a key that is there twice is refused, and
    an alias (*name), of which a few lines can stand for gigabytes.
    """
    content = read_bytes(path, cure, error, LARGEST_YAML_BYTES)
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _WithoutAliases
    yaml.max_depth = DEEPEST_YAML
    try:
        tree = yaml.load(content.decode("utf-8-sig"))  # as bytes it would take UTF-16 too
    except (YAMLError, ValueError, RecursionError) as problem:
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
    try:
        whole = tree.pop(SEAL, None) == _seal(tree)
    except RecursionError:  # json gives up at fewer levels than orjson
        whole = False
    if not whole:
        raise error(f"{path} is damaged: its sha256 does not match its content.", cure)
    return tree


def typed(tree: Any, kind: type[T], path: Path, cure: str, error: type[UserError] = DataError) -> T:
    """What a file holds as a dataclass `kind`; `error` names the first key that is missing or of
    another type. Further keys are ignored."""
    from pydantic import TypeAdapter, ValidationError  # the monitor does without

    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "its content"
        raise error(f"{path}: {key}: {first['msg']}.", cure) from None


def disk_fault(error: OSError) -> MachineError | None:
    """The refusal for a disk that is full or failing; None for any other error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MachineError(
            f"The disk is full, or a file size limit is reached: {error}.",
            "Free space (df -h . shows how much there is, ulimit -f the limit; dvc gc -w drops old "
            "versions), then repeat the command; a stage resumes from here.",
        )
    if error.errno in (errno.EIO, errno.EROFS):
        return MachineError(
            f"The disk failed, or can only be read: {error}.",
            "See what the kernel reports (dmesg) and check the disk, then repeat the command; a "
            "stage resumes from here.",
        )
    return None


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _WithoutAliases(Composer):
    def return_alias(self, a: Any) -> Any:
        raise ComposerError(None, None, "an anchor with aliases, which are not read", a.start_mark)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for a writer


def _seal(tree: Json) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _mapping(tree: Any, path: Path, cure: str, error: type[UserError]) -> Json:
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return tree
    found = "nothing" if tree is None else f"a {type(tree).__name__}"
    raise error(f"{path} holds {found} instead of keys and values.", cure)


def _why(content: bytes, problem: Exception) -> str:
    """The parser's message in one line, or a plainer word for the usual accidents."""
    if not content.strip():
        return "it is empty"
    if any(marker in content for marker in CONFLICT_MARKERS):
        return "it holds git's conflict markers"
    if isinstance(problem, MarkedYAMLError) and problem.problem and problem.problem_mark:
        return f"line {problem.problem_mark.line + 1}: {problem.problem}"[:200]
    return reason_of(problem)


@functools.cache
def _sweep(folder: Path) -> None:
    """Once a process: remove the temporary files in the folder that no process has locked."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if TEMPORARY.fullmatch(path.name):
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                        path.unlink()


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Create an empty file, and lock it until the block ends."""
    while True:
        with path.open("wb") as file:
            with suppress(OSError):  # a file system without locks: `_sweep` removes nothing there
                fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists():  # else another process swept it before it was locked
                yield
                return


def _sync_dir(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
