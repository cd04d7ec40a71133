"""The log of `pillsnap check`: a line of JSON per check, appended and never rewritten."""

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pillsnap import files
from pillsnap.errors import DataError, UsageError
from pillsnap.files import Json
from pillsnap.prediction.prescription import Report
from pillsnap.recognition.calibration import Calibration

CURE = "Name another file: --log FILE"
DECISIONS = ("confirmed", "corrected")


@dataclass(frozen=True)
class Log:
    """Where checks are logged, and who decided what; "" where nobody has signed."""

    path: Path
    person: str
    decision: str  # of DECISIONS

    @classmethod
    def of(cls, path: Path | None, confirm: str | None, correct: str | None) -> "Log | None":
        """The log that the options ask for; UsageError if they contradict each other."""
        signed = [who for who in (confirm, correct) if who is not None]
        if len(signed) > 1:
            raise UsageError("--confirm and --correct were both given.", "Choose one.")
        if signed and not signed[0].strip():
            raise UsageError("The name of who signs is empty.", "Give a name: --confirm NAME")
        if path is None:
            if signed:
                raise UsageError("A check is signed without a log.", "Add --log FILE.")
            return None
        if path.is_dir():
            raise UsageError(f"--log {path} is a folder.", CURE)
        decision = DECISIONS[correct is not None] if signed else ""
        return cls(path, "".join(signed).strip(), decision)

    def add(
        self, pictures: Sequence[Path], prescription: Path, report: Report, fitted: Calibration
    ) -> None:
        """Append a check, on disk when this returns."""
        entry: Json = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "pictures": [{"path": str(path), "sha256": _sha256_of(path)} for path in pictures],
            "prescription": {"path": str(prescription), "sha256": _sha256_of(prescription)},
            "classifier": fitted.classification_sha256,
            "known_recall": fitted.known_recall,
            "all_right": report.all_right,
            "drugs": [
                {name: getattr(drug, name) for name in ("asked", "count", "found", "status")}
                for drug in report.drugs
            ],
            "extra": [pill.code for pill in report.extra],
            "unsure": len(report.unsure),
            "refused": report.refused,
            "person": self.person,
            "decision": self.decision,
        }  # fmt: skip
        try:
            _append(self.path, json.dumps(entry, ensure_ascii=False))
        except OSError as error:
            fault = files.disk_fault(error)
            fact = f"{self.path} cannot be written: {error.strerror}; the check is not logged."
            raise fault or DataError(fact, CURE) from None


def _sha256_of(path: Path) -> str | None:
    with suppress(OSError):
        return files.sha256_of(path)
    return None


def _append(path: Path, line: str) -> None:
    """Append a line whole; what a killed process began stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        begun = bool(size) and file.read(1) != b"\n"
        file.write(b"\n" * begun + line.encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
