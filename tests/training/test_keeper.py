"""The record of a training: DVCLive's files without a gap or a double step."""

import json

import pandas as pd

from pillsnap.stage.log import RunLog
from pillsnap.training.keeper import Recorder


def test_replayed_history_leaves_no_gap_and_no_double_step(tmp_path):
    with RunLog("train_detection", tmp_path) as log:
        first = Recorder(tmp_path / "live", log, 3, [])
        first.record({"loss/train": 3.0}, 1.0)
        first.record({"loss/train": 2.0}, 1.0)
        second = Recorder(tmp_path / "again", log, 3, first.history)
        second.record({"loss/train": 1.0}, 2.0)
        second.finish(resumed=1)
    table = pd.read_csv(tmp_path / "again/plots/metrics/loss/train.tsv", sep="\t")
    assert table["step"].tolist() == [1, 2, 3]
    assert table["train"].tolist() == [3.0, 2.0, 1.0]
    summary = json.loads((tmp_path / "again/summary.json").read_text())
    assert summary == {"minutes": 0.0667, "epochs": 3, "resumed": 1}
    metrics = json.loads((tmp_path / "again/metrics.json").read_text())
    assert metrics["loss"]["train"] == 1.0
    assert "cpu_pct" in metrics["hardware"]
