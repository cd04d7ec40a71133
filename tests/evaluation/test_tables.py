import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from make.made_answers import OPTIONS, class_table, crop_answers, fitted, frames, muddled
from pillsnap import files
from pillsnap.evaluation import sections, tables

VAL = crop_answers(muddled, True, 1)
MODEL = {"architecture": "test_resnet", "image_px": 96, "parameters": 386_000}
SECTION = {"top1": 0.96, "top5": None}


def test_the_table_of_crops_gives_the_metrics_again(tmp_path: Path) -> None:
    made = fitted(VAL)
    tables.write_parquet(tmp_path / "p.parquet", [tables.crops("val", VAL, made, class_table())])
    table = pq.read_table(tmp_path / "p.parquet").to_pandas()
    section = sections.classification(VAL, made, 10, 0)
    right = [
        codes[0] == code for codes, code in zip(table["codes"], table["mapping_code"], strict=True)
    ]
    five = [
        code in codes for codes, code in zip(table["codes"], table["mapping_code"], strict=True)
    ]
    assert np.mean(right) == pytest.approx(section["top1"], abs=1e-9)
    assert np.mean(five) == pytest.approx(section["top5"], abs=1e-9)
    assert table["refused"].mean() == pytest.approx(0.05)


def test_probabilities_fall_and_their_first_is_the_largest(tmp_path: Path) -> None:
    table = tables.crops("val", VAL, fitted(VAL), class_table())
    chances = np.array(table["probabilities"].tolist())
    assert (np.diff(chances, axis=1) <= 0).all()
    assert (chances.sum(axis=1) <= 1).all()


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = tables.crops("val", VAL, fitted(VAL), class_table())
    for name in "ab":
        tables.write_parquet(tmp_path / name, [table])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_coco_files_give_the_map_again(tmp_path: Path) -> None:
    truth, found = tables.coco_files(frames())
    files.write_json(tmp_path / "truth.json", truth)
    files.write_json(tmp_path / "found.json", found)
    labelled = COCO(tmp_path / "truth.json")
    evaluation = COCOeval_faster(labelled, labelled.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    section = sections.detection(frames(), OPTIONS, 0)
    assert evaluation.stats[1] == pytest.approx(section["map50"], abs=1e-9)


def write_epochs(folder: Path) -> Path:
    for number, (name, header) in enumerate(
        [("map50", "map50"), ("lr", "lr"), ("loss/train", "train")], start=1
    ):
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"step\t{header}\n1\t0.{number}\n2\t0.{number}5\n")
    return folder


def test_a_timm_row_is_in_per_cent_and_a_missing_metric_is_empty() -> None:
    row = tables.timm_row(SECTION, MODEL)
    shown = [row[name] for name in ("top1", "top1_err", "top5", "top5_err")]
    assert shown == ["96.000", "4.000", "", ""]


def test_a_row_has_timms_columns() -> None:
    row = tables.timm_row(SECTION, MODEL)
    assert ",".join(row) == "model,top1,top1_err,top5,top5_err,param_count,img_size"
    assert row["param_count"] == "0.39"


def test_epochs_have_the_column_names_of_ultralytics(tmp_path: Path) -> None:
    rows = tables.by_epoch(write_epochs(tmp_path))
    tables.write_csv(tmp_path / "results.csv", rows)
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["epoch", "train/loss", "metrics/mAP50(B)", "lr/pg0"]
    assert [row["epoch"] for row in read] == ["1", "2"]
    assert [row["metrics/mAP50(B)"] for row in read] == ["0.1", "0.15"]


def test_without_a_training_the_table_is_empty(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "results.csv", tables.by_epoch(tmp_path))
    assert (tmp_path / "results.csv").read_text() == ""
