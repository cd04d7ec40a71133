import csv
from pathlib import Path

import timm
import torch

from pillsnap.evaluation import tables

CONFIG = {"architecture": "test_resnet", "image_px": 96}
SECTION = {"top1": 0.96, "top5": None}


def write_epochs(folder: Path) -> Path:
    for number, (name, header) in enumerate(
        [("map50", "map50"), ("lr", "lr"), ("loss/train", "train")], start=1
    ):
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"step\t{header}\n1\t0.{number}\n2\t0.{number}5\n")
    return folder


def test_a_timm_row_is_in_per_cent_and_a_missing_figure_is_empty() -> None:
    row = tables.timm_row(SECTION, CONFIG, {})
    shown = [row[name] for name in ("top1", "top1_err", "top5", "top5_err")]
    assert shown == ["96.000", "4.000", "", ""]


def test_parameters_are_counted_as_timm_counts_them() -> None:
    model = timm.create_model("test_resnet", pretrained=False, num_classes=24)
    counted = sum(parameter.numel() for parameter in model.parameters())
    row = tables.timm_row(SECTION, CONFIG, model.state_dict())
    assert row["param_count"] == f"{counted / 1e6:.2f}"
    assert sum(tensor.numel() for tensor in model.state_dict().values()) > counted


def test_a_column_of_timms_table_is_there() -> None:
    row = tables.timm_row(SECTION, CONFIG, {"weight": torch.zeros(3)})
    names = "model,top1,top1_err,top5,top5_err,param_count,img_size"
    assert ",".join(row) == names


def test_epochs_stand_under_the_names_ultralytics_uses(tmp_path: Path) -> None:
    rows = tables.by_epoch(write_epochs(tmp_path))
    tables.write(tmp_path / "results.csv", rows)
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["epoch", "train/loss", "metrics/mAP50(B)", "lr/pg0"]
    assert [row["epoch"] for row in read] == ["1", "2"]
    assert [row["metrics/mAP50(B)"] for row in read] == ["0.1", "0.15"]


def test_without_a_training_the_table_is_empty(tmp_path: Path) -> None:
    tables.write(tmp_path / "results.csv", tables.by_epoch(tmp_path))
    assert (tmp_path / "results.csv").read_text() == ""
