"""The tables the stages hand on: manifests (a row per pill) and the class table."""

import hashlib
from io import StringIO
from pathlib import Path

import pandas as pd

from pillsnap import atomic
from pillsnap.errors import DataError

SPLITS = ("train", "val", "test")

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
    "part": "str",  # train | val: AI Hub's own part
    "shard": "str",
}

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


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a manifest, sorted by photo and box, byte-identical for equal rows."""
    order = ["image_path", "mapping_code", "box_x", "box_y", "label_path"]
    _write_csv(path, table.sort_values(order, kind="stable")[list(COLUMNS)])


def read(path: Path) -> pd.DataFrame:
    """Read a manifest; empty text stays empty text (never NaN)."""
    return _read_csv(path, COLUMNS)


def write_classes(path: Path, table: pd.DataFrame) -> None:
    """Write the class table in the order of class_index."""
    _write_csv(path, table.sort_values("class_index")[list(CLASS_COLUMNS)])


def read_classes(path: Path) -> pd.DataFrame:
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
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    buffer = StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    atomic.write_text(path, buffer.getvalue())


def _read_csv(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=columns, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is not here.", "Make it: dvc repro (or dvc pull).") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "Restore it: dvc checkout, or dvc repro."
        ) from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}.",
            "It is from another version: dvc repro.",
        )
    return table
