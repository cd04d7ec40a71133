"""Parts of the photos, read by the jobs of an array; stage validate joins what they have made."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from pillsnap.errors import DataError, UsageError
from pillsnap.validation.prepare import FrameTask
from pillsnap.validation.work_store import WorkStore

STORE = re.compile(r"(\w+)\.part-(\d+)-of-(\d+)\.sqlite")


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def store(self, work_dir: Path, version: str) -> Path:
        """The work store of this part for a version of the pictures."""
        return work_dir / f"{version}.part-{self.number}-of-{self.count}.sqlite"


def parse(text: str) -> Part:
    """`2/3`; UsageError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    part = Part(int(found[1]), int(found[2])) if found else Part(0, 0)
    if not 1 <= part.number <= part.count:
        raise UsageError(
            f"--part {text} is not I/N with I from 1 to N.",
            "Three jobs, for example, are --part 1/3, --part 2/3 and --part 3/3.",
        )
    return part


def split(tasks: Iterable[FrameTask], count: int) -> list[list[FrameTask]]:
    """The tasks of each part. A photo's path picks its part, so that it never moves."""
    shares: list[list[FrameTask]] = [[] for _ in range(count)]
    for task in tasks:
        shares[xxhash.xxh3_64_intdigest(task.image_path.encode()) % count].append(task)
    return shares


def contents(tasks: Iterable[FrameTask]) -> str:
    """A hash over the photos, labels and kinds of pictures of a part."""
    digest = xxhash.xxh3_128()
    for task in tasks:
        digest.update(f"{task.key} {' '.join(sorted(task.kinds))}\n".encode())
    return digest.hexdigest()


def join(work_dir: Path, version: str, tasks: Sequence[FrameTask], store: WorkStore) -> int:
    """Add the pictures of all parts in the folder to the store; how many parts there are.

    DataError where a part is missing, unfinished, or was read with other parameters, from another
    manifest or from other photos. `store.keep_only` deletes them later.
    """
    found = [match for path in work_dir.glob("*") if (match := STORE.fullmatch(path.name))]
    counts = {int(match[3]) for match in found if match[1] == version}
    paths, faults = list[Path](), list[str]()
    for count in sorted(counts or {int(match[3]) for match in found}):
        for number, share in enumerate(split(tasks, count), start=1):
            part = Part(number, count)
            paths.append(part.store(work_dir, version))
            fault = _fault(part, work_dir, paths[-1], share)
            faults += [f"part {part} {fault}"] * bool(fault)
    if faults:
        raise DataError(
            "Parts of the photos cannot be joined:\n  " + "\n  ".join(faults),
            f"pillsnap validate --part {faults[0].split()[1]} and so for each of these parts: "
            "it reads only photos that it has not read yet. Or read all photos on this host: "
            f"rm {work_dir}/*.part-*, then dvc repro validate",
        )
    for path in paths:
        store.add_all(path)
    return len(paths)


def _fault(part: Part, work_dir: Path, path: Path, tasks: Sequence[FrameTask]) -> str:
    """Why a part cannot be joined; "" where it can."""
    if path.is_file():
        with WorkStore(path) as store:
            recorded = store.contents()
        if recorded is None:
            return "is not finished"
        same = recorded == contents(tasks)
        return "" if same else "is of another manifest, or of photos with another size or time"
    others = any(work_dir.glob(f"*.part-{part.number}-of-{part.count}.sqlite"))
    return "is of other parameters or versions" if others else "is missing"
