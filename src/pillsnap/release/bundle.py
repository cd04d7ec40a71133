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
from pillsnap.errors import CheckpointError, ParameterError

FORMAT = 3
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes and checks it
CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)
DESCRIPTION = "bundle.json"
AGAIN = "Export it again (pillsnap export), or copy the bundle again."


@dataclass(frozen=True)
class Description:
    """The part of bundle.json that the use of a bundle needs."""

    scale: str
    batch_size: PositiveInt  # frames or crops at once
    max_pixels: PositiveInt  # of a picture


class Bundle:
    """Where the files of a bundle are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.detection_onnx = folder / "detection.onnx"
        self.classification_onnx = folder / "classification.onnx"
        self.detection_pt = folder / "detection.pt"  # the checkpoints
        self.classification_pt = folder / "classification.pt"
        self.calibration = folder / "recogniser.json"
        self.classes = folder / "classes.csv"
        self.gallery = folder / "gallery.json"  # enrolled drugs, if there are any
        self.model_card = folder / "model_card.md"
        self.sbom = folder / "sbom.cdx.json"  # the packages it was made with, and their licences
        self.licences = folder / "licences.txt"
        self.ultralytics_pt = folder / "ultralytics" / "pill.pt"
        self.ultralytics_onnx = folder / "ultralytics" / "pill.onnx"
        self.timm_dir = folder / "timm"  # for `timm.create_model("local-dir:...")`

    def describe(self) -> Description:
        """bundle.json; CheckpointError when it is missing, damaged or of another format."""
        path = self.folder / DESCRIPTION
        if not path.exists():
            fact = f"{self.folder} is no release bundle: it has no {DESCRIPTION}."
            raise CheckpointError(fact, "Make one in a new folder: pillsnap export --out FOLDER")
        form = files.read_json(path, AGAIN, CheckpointError).get("format")
        if form != FORMAT:
            fact = f"{path} is of format {form!r:.20}, this version reads {FORMAT}."
            raise CheckpointError(fact, AGAIN)
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
        """Differences to the sealed state, a line per file; empty when there is none."""
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
        damaged = f"{path} is damaged: {CHECKSUMS} has another sha256."
        return "" if digest == sealed[name] else damaged

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


def check_out(out: Path) -> None:
    """ParameterError unless `out`, which is replaced whole, is new, empty or an older bundle."""
    if out.is_file():
        raise ParameterError(f"--out {out} is a file.", "Name a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file():
        fact = f"--out {out} holds other files, and the whole folder would be replaced."
        raise ParameterError(fact, "Name a new folder, or that of an older bundle.")
