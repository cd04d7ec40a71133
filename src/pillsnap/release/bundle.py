"""A release bundle: one folder with everything that recognition needs, and its checksums.

Its use needs neither torch nor the repository: `pillsnap predict --model DIR --backend onnx`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from pillsnap import files
from pillsnap.errors import CheckpointError

FORMAT = 2
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes and checks it
CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)
DESCRIPTION = "bundle.json"
AGAIN = "Export it again (pillsnap export), or copy the bundle again."


@dataclass(frozen=True)
class Description:
    """What bundle.json says about the use of a bundle."""

    scale: str
    batch_size: PositiveInt  # frames or crops at once
    max_pixels: PositiveInt  # of a picture


@dataclass(frozen=True)
class Bundle:
    """Where the files of a bundle are."""

    folder: Path

    @property
    def detection_onnx(self) -> Path:
        """The detector's graph."""
        return self.folder / "detection.onnx"

    @property
    def classification_onnx(self) -> Path:
        """The classifier's graph."""
        return self.folder / "classification.onnx"

    @property
    def detection_pt(self) -> Path:
        """The detector's checkpoint."""
        return self.folder / "detection.pt"

    @property
    def classification_pt(self) -> Path:
        """The classifier's checkpoint."""
        return self.folder / "classification.pt"

    @property
    def calibration(self) -> Path:
        """Temperature, refusal score, threshold, class means."""
        return self.folder / "recogniser.json"

    @property
    def classes(self) -> Path:
        """The class table."""
        return self.folder / "classes.csv"

    @property
    def gallery(self) -> Path:
        """Enrolled drugs, if there are any."""
        return self.folder / "gallery.json"

    @property
    def model_card(self) -> Path:
        """Data, metrics, limits."""
        return self.folder / "model_card.md"

    @property
    def timm_dir(self) -> Path:
        """The classifier as `timm.create_model("local-dir:...")` loads it."""
        return self.folder / "timm"

    def describe(self) -> Description:
        """bundle.json; CheckpointError when it is missing, damaged or of another format."""
        path = self.folder / DESCRIPTION
        if not path.exists():
            raise CheckpointError(
                f"{self.folder} is no release bundle: it has no {DESCRIPTION}.",
                "Make one in a new folder: pillsnap export --out FOLDER",
            )
        form = files.read_json(path, AGAIN, CheckpointError).get("format")
        if form != FORMAT:
            raise CheckpointError(
                f"{path} is of format {form!r:.20}, this version reads {FORMAT}.", AGAIN
            )
        tree = files.read_sealed_json(path, AGAIN, CheckpointError)
        return files.typed(tree, Description, path, AGAIN, CheckpointError)

    def holds(self, path: Path) -> bool:
        """Whether a file is there, or was when the bundle was sealed."""
        return path.exists() or path.relative_to(self.folder).as_posix() in self._sealed()

    def check(self, paths: Iterable[Path]) -> None:
        """CheckpointError unless each of these files is what was sealed; call it before loading."""
        sealed = self._sealed()
        for path in paths:
            fault = self._fault(path.relative_to(self.folder).as_posix(), sealed)
            if fault:
                raise CheckpointError(fault, AGAIN)

    def verify(self) -> list[str]:
        """What differs from what was sealed, a line per file; empty when the bundle is whole."""
        sealed = self._sealed()
        faults = [self._fault(name, sealed) for name in sorted({*sealed, *self._files()})]
        return [fault for fault in faults if fault]

    def seal(self, description: Mapping[str, Any]) -> None:
        """Write bundle.json and the checksums of all files."""
        files.write_sealed_json(self.folder / DESCRIPTION, {"format": FORMAT, **description})
        lines = [f"{files.sha256_of(self.folder / name)}  {name}" for name in self._files()]
        files.write_text(self.folder / CHECKSUMS, "\n".join(lines) + "\n")

    def _fault(self, name: str, sealed: Mapping[str, str]) -> str:
        """What is wrong with a file; "" when nothing is."""
        path = self.folder / name
        if name not in sealed:
            found = f"not listed in {CHECKSUMS}" if path.exists() else "missing"
            return f"{path} is {found}."
        try:
            with files.opened(path, AGAIN, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except CheckpointError as error:
            return error.fact
        return (
            "" if digest == sealed[name] else f"{path} is damaged: {CHECKSUMS} has another sha256."
        )

    def _sealed(self) -> dict[str, str]:
        """The sha256 of every file by its name, from SHA256SUMS."""
        path = self.folder / CHECKSUMS
        lines = files.read_bytes(path, AGAIN, CheckpointError).decode("utf-8", "replace")
        found = [CHECKSUM_LINE.fullmatch(line) for line in lines.removesuffix("\n").split("\n")]
        if not all(found):
            raise CheckpointError(f"{path} is not a list of checksums.", AGAIN)
        return {match[2]: match[1] for match in found if match}

    def _files(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        names = (path.relative_to(self.folder).as_posix() for path in found)
        return sorted(name for name in names if name != CHECKSUMS)
