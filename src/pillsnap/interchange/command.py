"""`pillsnap export-data`: writes one form into a new folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pillsnap import files
from pillsnap.errors import DataError, ParameterError, UsageError, reason_of
from pillsnap.interchange import crops, frames
from pillsnap.places import Places

FORMATS: dict[str, Callable[[Places, Path, int], str]] = {
    "imagefolder": crops.imagefolder,
    "hf": crops.hugging_face,
    "yolo": crops.yolo,
    "coco": frames.coco,
    "label-studio": frames.label_studio,
    "fiftyone": frames.fiftyone,
}


def export(form: str, places: Places, out: Path, most: int) -> str:
    """Write a form into `out`, which must not exist; returns what was written.

    `most`: frames of coco, label-studio and fiftyone, the ones with most errors first.
    """
    if form not in FORMATS:
        raise UsageError(f"--format {form} is not known.", f"Use one of {', '.join(FORMATS)}.")
    if out.exists():
        raise ParameterError(f"{out} exists.", "Name a folder that does not exist.")
    temporary = out.with_name(f".{out.name}.tmp")
    files.remove_folder(temporary)
    try:
        temporary.mkdir(parents=True)
        written = FORMATS[form](places, temporary, most)
        temporary.rename(out)
    except FileNotFoundError as missing:
        raise DataError(
            f"{missing.filename or reason_of(missing)} does not exist.",
            "Make it: dvc repro (or dvc pull).",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"{out}: {written}"
