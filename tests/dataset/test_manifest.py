import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pillsnap.dataset import manifest
from pillsnap.errors import DataError

PLAIN: dict[str, Any] = {
    name: {"str": "text", "int64": 1, "bool": True}[kind] for name, kind in manifest.COLUMNS.items()
}


def rows(**columns: list[Any]) -> dict[str, Any]:
    """Manifest rows that differ in some columns."""
    count = len(next(iter(columns.values())))
    return {name: columns.get(name, [value] * count) for name, value in PLAIN.items()}


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", ["a,b", 'the "best"', '"', "two\nlines", "a\rb", "약, 정", ""])
def test_any_text_is_read_back_as_it_was(tmp_path, name):
    manifest.write(tmp_path / "a.csv", rows(drug_name=["plain", name]))
    column = list(manifest.COLUMNS).index("drug_name")
    assert [line[column] for line in lines(tmp_path / "a.csv")] == ["drug_name", "plain", name]
    quoted = any(sign in name for sign in ',"\r\n')
    assert ('"' in (tmp_path / "a.csv").read_text("utf-8")) == quoted


def test_rows_are_sorted_by_photo_code_and_box(tmp_path):
    table = rows(
        image_path=["b", "a", "a", "a", "가"], mapping_code=["1", "2", "1", "1", "1"],
        box_x=[1, 1, 10, 9, 1],
    )  # fmt: skip
    manifest.write(tmp_path / "a.csv", table)
    read = manifest.read(tmp_path / "a.csv")
    assert list(zip(read["image_path"], read["mapping_code"], read["box_x"], strict=True)) == [
        ("a", "1", 9), ("a", "1", 10), ("a", "2", 1), ("b", "1", 1), ("가", "1", 1),
    ]  # fmt: skip


def test_lists_arrays_and_a_data_frame_give_the_same_bytes_in_the_contracts_columns(tmp_path):
    table = rows(known=[True, False], class_index=[3, -1], drug_name=["a", "b"])
    arrays = {name: np.array(values) for name, values in table.items()}
    for name, given in (("a", table), ("b", arrays), ("c", pd.DataFrame(table))):
        manifest.write(tmp_path / name, given)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1
    manifest.write(tmp_path / "a.csv", dict(reversed(rows(known=[True]).items())))
    assert lines(tmp_path / "a.csv")[0] == list(manifest.COLUMNS)
    manifest.write(tmp_path / "a.csv", {name: [] for name in manifest.COLUMNS})
    assert len(manifest.read(tmp_path / "a.csv")) == 0


def test_a_missing_manifest_or_column_and_a_gap_in_the_class_table_are_refused(tmp_path):
    with pytest.raises(DataError, match="is missing") as refused:
        manifest.read(tmp_path / "a.csv")
    assert "dvc repro" in refused.value.cure
    (tmp_path / "a.csv").write_text("image_path\n")
    with pytest.raises(DataError, match="lacks the columns label_path"):
        manifest.read(tmp_path / "a.csv")
    table = {name: ["1", "2"] for name in manifest.CLASS_COLUMNS} | {"class_index": [0, 2]}
    manifest.write_classes(tmp_path / "classes.csv", table)
    with pytest.raises(DataError, match="class_index is not"):
        manifest.read_classes(tmp_path / "classes.csv")
