"""A release bundle: one folder that holds all that naming pills needs, with its checksums.

Needs neither torch nor the repository to be used: `pillsnap predict --model DIR --backend onnx`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillsnap import files as atomic
from pillsnap.errors import CheckpointError

FORMAT = 1
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes and checks it
DESCRIPTION = "bundle.json"
AGAIN = "Export it again (pillsnap export), or copy the bundle anew."


@dataclass(frozen=True)
class Bundle:
    """Where a bundle's files are."""

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
        """Enrolled drugs, where there are any."""
        return self.folder / "gallery.json"

    @property
    def model_card(self) -> Path:
        """Data, figures, limits."""
        return self.folder / "model_card.md"

    @property
    def timm_dir(self) -> Path:
        """The classifier as `timm.create_model("local-dir:...")` loads it."""
        return self.folder / "timm"

    def describe(self) -> dict[str, Any]:
        """bundle.json; CheckpointError when it is missing, damaged or of another format."""
        path = self.folder / DESCRIPTION
        try:
            tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            told = tree["format"]
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.folder} is no release bundle: it has no {DESCRIPTION}.",
                "Make one: pillsnap export",
            ) from None
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path} is damaged.", AGAIN) from None
        if told != FORMAT:
            raise CheckpointError(
                f"{path} is of format {told}, this version reads {FORMAT}.", AGAIN
            )
        return tree

    def seal(self, description: Mapping[str, Any]) -> None:
        """Write bundle.json and the checksums of every file."""
        text = json.dumps({"format": FORMAT, **description}, ensure_ascii=False, indent=2)
        atomic.write_text(self.folder / DESCRIPTION, text + "\n")
        lines = [f"{atomic.sha256_of(self.folder / name)}  {name}" for name in self._files()]
        atomic.write_text(self.folder / CHECKSUMS, "\n".join(lines) + "\n")

    def verify(self) -> list[str]:
        """What is not as it was sealed, a line each; nothing when the bundle is whole."""
        path = self.folder / CHECKSUMS
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            sealed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        except FileNotFoundError:
            return [f"{path}: missing, so nothing can be checked"]
        except ValueError:
            return [f"{path}: not a list of checksums"]
        found = set(self._files())
        missing = [f"{self.folder / name}: missing" for name in sorted(sealed.keys() - found)]
        strange = [f"{self.folder / name}: not sealed" for name in sorted(found - sealed.keys())]
        changed = [
            f"{self.folder / name}: changed"
            for name in sorted(found & sealed.keys())
            if atomic.sha256_of(self.folder / name) != sealed[name]
        ]
        return missing + changed + strange

    def _files(self) -> list[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        names = (path.relative_to(self.folder).as_posix() for path in files)
        return sorted(name for name in names if name != CHECKSUMS)
