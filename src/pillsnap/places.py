"""Where the files of a scale are, relative to the repository."""

from pathlib import Path
from typing import TYPE_CHECKING

from pillsnap.errors import DataError

if TYPE_CHECKING:  # the monitor does without pydantic
    from pillsnap.params import Params

STAGES = ("build_manifest", "validate", "train_detection", "train_classification", "evaluate")
TRAININGS = ("train_detection", "train_classification")
MODELS = ("detection", "classification")  # what the trainings train, as folders are called


class Places:
    """Where a scale's files are."""

    def __init__(self, artifacts_dir: Path, data_dir: Path, scale: str) -> None:
        self.artifacts_dir, self.data_dir, self.scale = artifacts_dir, data_dir, scale
        self.checkpoints = artifacts_dir / "checkpoints"
        self.calibration = self.checkpoints / f"{scale}_recogniser.json"  # what evaluate fits
        self.model_card = self.checkpoints / f"{scale}_model_card.md"
        self.classes = artifacts_dir / "classes.csv"  # the class table
        self.sampling = artifacts_dir / "sampling.json"  # build_manifest's report
        self.validation = artifacts_dir / "validation.json"  # validate's report
        # Of the detector's metrics per epoch, a TSV file each
        self.epochs = artifacts_dir / "live" / "detection" / "plots" / "metrics"

    def checkpoint(self, model: str) -> Path:
        """A training's published checkpoint."""
        return self.checkpoints / f"{self.scale}_{model}_best.pt"

    def crops(self, split: str) -> Path:
        """A split's crops (dataset.crops)."""
        return self.data_dir / "crops" / f"{split}.arrow"

    def frames(self, split: str) -> Path:
        """A split's full-size frames (dataset.frames)."""
        return self.data_dir / "frames" / f"{split}.arrow"

    def check_links(self, root: Path = Path()) -> None:
        """DataError where a link leads outputs out of the repository `root`.

        DVC 3 refuses them too, but only after the stage has run.
        """
        live = [self.artifacts_dir / "live" / model for model in MODELS]
        for folder in (self.data_dir, self.artifacts_dir, self.checkpoints, *live):
            if (root / folder).resolve().is_relative_to(root.resolve()):
                continue
            link = next(path for path in (*reversed(folder.parents), folder)
                        if (root / path).is_symlink())  # fmt: skip
            target = (root / link).resolve()
            raise DataError(
                f"{link} is a link to {target}, outside of the repository: DVC takes no outputs "
                "there.",
                f"Mount the folder instead: rm {link} && mkdir {link} && "
                f"sudo mount --bind {target} {link}\n"
                "     Or move the whole repository to that disk. The photos (PILLSNAP_DATA_ROOT) "
                "and DVC's cache (dvc cache dir --local FOLDER) may be anywhere.",
            )

    @classmethod
    def of(cls, params: "Params") -> "Places":
        """The places of the chosen scale."""
        return cls(params.artifacts_dir, params.data_dir, params.scale)
