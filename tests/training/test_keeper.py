import errno
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from pillsnap.stage.log import RunLog
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.keeper import Keeper
from pillsnap.training.ranks import ALONE

PLAN = SimpleNamespace(epochs=3, batch_size=8, goals={}, ranks=ALONE, described=str)
TRAINER = SimpleNamespace(
    state=lambda: {"epoch": 0}, restore=lambda state: None, unsound=lambda: None
)


def test_a_resumed_record_has_no_gap_and_no_double_step(tmp_path):
    def epochs(live, *losses):
        with WorkFolder("s", "f", tmp_path / "work") as folder:
            keeper = Keeper(PLAN, folder, tmp_path / live, log)
            keeper.resume(TRAINER)
            for loss in losses:
                keeper.offer([-loss], {}, lambda: {"w": torch.ones(1)})
                keeper.close_epoch(TRAINER, {"loss/train": loss}, loss)
        return keeper

    with RunLog("train_detection", tmp_path) as log:
        epochs("live", 3.0, 2.0)
        assert epochs("again", 1.0).finish().epoch == 3
    table = pd.read_csv(tmp_path / "again/plots/metrics/loss/train.tsv", sep="\t")
    assert table["step"].tolist() == [1, 2, 3]
    assert table["train"].tolist() == [3.0, 2.0, 1.0]
    summary = json.loads((tmp_path / "again/summary.json").read_text())
    counts = {"minutes": 0.1, "epochs": 3, "resumed": 1, "best_epoch": 3, "batch_size": 8}
    assert summary == counts
    metrics = json.loads((tmp_path / "again/metrics.json").read_text())
    assert metrics["loss"]["train"] == 1.0
    assert "cpu_pct" in metrics["hardware"]


def test_plots_of_before_that_cannot_be_removed_are_not_added_to(tmp_path, monkeypatch):
    def unlink(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "live/plots/metrics").mkdir(parents=True)
    (tmp_path / "live/plots/metrics/top1.tsv").write_text("step\ttop1\n1\t0.5\n")
    with RunLog("train_detection", tmp_path) as log, WorkFolder("s", "f", tmp_path) as folder:
        monkeypatch.setattr("os.unlink", unlink)
        with pytest.raises(OSError, match="Input/output error"):
            Keeper(PLAN, folder, tmp_path / "live", log).resume(TRAINER)
        monkeypatch.undo()
