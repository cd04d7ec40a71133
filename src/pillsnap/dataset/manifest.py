"""Manifests (one row per pill) and the class table, as CSV files."""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillsnap import files
from pillsnap.errors import DataError, reason_of

if TYPE_CHECKING:  # importing pandas takes a second, and build_manifest only writes
    import pandas as pd

SPLITS = ("train", "val", "test")
UNGROUPED = "photo:"  # begins the group_id of a photo whose capture group is not known
UNKNOWN = -1  # class_index of a pill whose code is no class, and of a refused pill

COLUMNS: dict[str, str] = {
    "image_path": "str",
    "label_path": "str",
    "image_type": "str",  # single | combination
    "mapping_code": "str",
    "class_index": "int64",  # -1 where not known
    "known": "bool",
    "edi_codes": "str",  # joined by |
    "drug_name": "str",
    "box_x": "int64",  # integer pixels of the frame, inside it
    "box_y": "int64",
    "box_w": "int64",
    "box_h": "int64",
    "image_width": "int64",
    "image_height": "int64",
    "drug_state": "int64",
    "back": "int64",
    "direction": "int64",
    "light": "int64",
    "latitude": "int64",
    "longitude": "int64",
    "group_id": "str",
    "part": "str",  # train | val | test: of the data set itself
    "shard": "str",
}

ORDER = ("image_path", "mapping_code", "box_x", "box_y", "label_path")  # of a manifest's rows

CLASS_COLUMNS: dict[str, str] = {
    "class_index": "int64",
    "mapping_code": "str",
    "edi_codes": "str",
    "drug_name": "str",
    "item_seq": "str",
    "drug_shape": "str",
    "color_class1": "str",
    "color_class2": "str",
    "print_front": "str",
    "print_back": "str",
    "train_pills": "int64",
    "val_pills": "int64",
}


MAKE = "Make it: dvc repro (or dvc pull)."
Rows = Mapping[str, Any]  # a sequence, an array or a series per column


def write(path: Path, rows: "Rows | pd.DataFrame") -> None:
    """Write a manifest."""
    files.write_bytes(path, as_csv(rows))


def as_csv(rows: "Rows | pd.DataFrame") -> bytes:
    """A manifest as CSV: sorted by photo and box, byte-identical for equal rows."""
    return _as_csv(rows, tuple(COLUMNS), ORDER)


def read(path: Path) -> "pd.DataFrame":
    """Read a manifest; empty text stays empty text, not NaN."""
    return _read_csv(path, COLUMNS)


def write_classes(path: Path, rows: "Rows | pd.DataFrame") -> None:
    """Write the class table in the order of class_index."""
    files.write_bytes(path, _as_csv(rows, tuple(CLASS_COLUMNS), ("class_index",)))


def read_classes(path: Path) -> "pd.DataFrame":
    """Read the class table; row i is class i."""
    table = _read_csv(path, CLASS_COLUMNS)
    if list(table["class_index"]) != list(range(len(table))):
        raise DataError(
            f"{path}: class_index is not 0..{len(table) - 1} in order.",
            "Rebuild it: dvc repro -f build_manifest",
        )
    return table


def class_table_hash(path: Path) -> str:
    """sha256 of classes.csv: what a checkpoint remembers of the classes it was trained on."""
    return hashlib.sha256(files.read_bytes(path, MAKE)).hexdigest()


def _as_csv(rows: "Rows | pd.DataFrame", columns: tuple[str, ...], order: tuple[str, ...]) -> bytes:
    """Without pandas: half the time, and build_manifest need not import it."""
    values = {name: _values(rows[name]) for name in columns}
    keys = list(zip(*(values[name] for name in order), strict=True))
    lines, text = list(zip(*values.values(), strict=True)), _Lines()
    writer = csv.writer(text)  # its own line end makes it quote both "\r" and "\n"
    writer.writerow(columns)
    writer.writerows(lines[at] for at in sorted(range(len(lines)), key=keys.__getitem__))
    return "".join(line.removesuffix("\r\n") + "\n" for line in text).encode()


class _Lines(list[str]):
    write = list.append


def _values(column: Any) -> list[Any]:
    """A column as a list of Python values."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _read_csv(path: Path, columns: dict[str, str]) -> "pd.DataFrame":
    import pandas as pd

    with files.opened(path, MAKE, DataError, files.LARGEST_MODEL_BYTES) as file:
        try:
            table = pd.read_csv(file, dtype=columns, keep_default_na=False, encoding="utf-8")
        except ValueError as error:
            fact = f"{path} cannot be read: {reason_of(error)}"
            raise DataError(fact, "Restore it: dvc checkout --force, or dvc repro.") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}.",
            "It was written by another version: dvc repro.",
        )
    return table
