import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from make.made_answers import OPTIONS, class_table, crop_answers, fitted, frames, muddled
from pillsnap import files
from pillsnap.evaluation import sections, tables

VAL = crop_answers(muddled, True, 1)


def test_the_table_of_crops_gives_the_metrics_again(tmp_path):
    made = fitted(VAL)
    tables.write_parquet(tmp_path / "p.parquet", [tables.crops("val", VAL, made, class_table())])
    table = pq.read_table(tmp_path / "p.parquet").to_pandas()
    section = sections.classification(VAL, made, 10, 0)
    pairs = list(zip(table["codes"], table["mapping_code"], strict=True))
    shares = [np.mean([code in codes[:top] for codes, code in pairs]) for top in (1, 5)]
    assert shares == pytest.approx([section["top1"], section["top5"]], abs=1e-9)
    assert (table["refused"] == (made.refusal_score(VAL) < made.threshold)).all()
    assert 0 < table["refused"].mean() <= 0.05
    chances = np.array(table["probabilities"].tolist())
    assert (np.diff(chances, axis=1) <= 0).all()
    assert (chances.sum(axis=1) <= 1).all()


def test_the_coco_files_give_the_map_again(tmp_path):
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


def test_epochs_have_the_column_names_of_ultralytics(tmp_path):
    for number, name in enumerate(("map50", "lr", "loss/train"), start=1):
        text = f"step\t{name.rpartition('/')[2]}\n1\t0.{number}\n2\t0.{number}5\n"
        files.write_text(tmp_path / f"{name}.tsv", text)
    tables.write_csv(tmp_path / "results.csv", tables.by_epoch(tmp_path))
    read = pd.read_csv(tmp_path / "results.csv", dtype=str)
    assert list(read) == ["epoch", "train/loss", "metrics/mAP50(B)", "lr/pg0"]
    assert read["epoch"].tolist() == ["1", "2"]
    assert read["metrics/mAP50(B)"].tolist() == ["0.1", "0.15"]
    tables.write_csv(tmp_path / "none.csv", tables.by_epoch(tmp_path / "none"))
    assert (tmp_path / "none.csv").read_text() == ""
