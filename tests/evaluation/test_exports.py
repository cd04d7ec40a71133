from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from make.made_answers import OPTIONS, class_table, crop_answers, fitted, frames, muddled
from pillsnap.evaluation import exports, sections

VAL = crop_answers(muddled, True, 1)


def test_the_table_of_crops_gives_the_figures_again(tmp_path: Path) -> None:
    made = fitted(VAL)
    exports.write_parquet(
        tmp_path / "p.parquet", exports.named_crops("val", VAL, made, class_table())
    )
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
    table = exports.named_crops("val", VAL, fitted(VAL), class_table())
    chances = np.array(table["probabilities"].tolist())
    assert (np.diff(chances, axis=1) <= 0).all()
    assert (chances.sum(axis=1) <= 1).all()


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = exports.named_crops("val", VAL, fitted(VAL), class_table())
    for name in "ab":
        exports.write_parquet(tmp_path / name, table)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_coco_files_give_the_map_again(tmp_path: Path) -> None:
    truth, found = exports.coco_files(frames())
    exports.write_json(tmp_path / "truth.json", truth)
    exports.write_json(tmp_path / "found.json", found)
    labelled = COCO(tmp_path / "truth.json")
    evaluation = COCOeval_faster(labelled, labelled.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    section = sections.detection(frames(), OPTIONS, 0)
    assert evaluation.stats[1] == pytest.approx(section["map50"], abs=1e-9)


def test_json_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        exports.write_json(tmp_path / "x.json", {"top1": float("nan")})
    assert not (tmp_path / "x.json").exists()
