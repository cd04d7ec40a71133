"""The run log: one whole JSON line per event, in the schema the monitor reads."""

import json
import os

from pillsnap.stage.log import Bar, RunLog

KEYS = {"time", "stage", "kind", "run", "epoch", "step", "total", "metrics", "hardware",
        "message", "level"}  # fmt: skip
HARDWARE = {"cpu_pct", "ram_used_mb", "ram_total_mb", "disk_free_gb"}


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_every_event_has_the_keys_of_the_schema(tmp_path):
    with RunLog("validate", tmp_path) as log:
        log.start(10, goals={"goal/top1": 0.85})
        log.progress(10, 10)
        log.epoch(1, 2, {"loss/train": 0.5}, log.hardware())
        log.info("알약")
        log.failure("fact", "cause", ["cure"])
        log.end({"top1": None}, "done")
    written = events(tmp_path)
    kinds = [event["kind"] for event in written]
    assert kinds == ["start", "progress", "epoch", "log", "log", "failure", "end", "log"]
    for event in written:
        assert event.keys() >= KEYS
        assert event["hardware"].keys() >= HARDWARE
    [(_, stage)] = {(event["run"], event["stage"]) for event in written}
    assert (stage, written[5]["cures"]) == ("validate", ["cure"])


def test_runs_are_appended_and_progress_is_written_once_a_second_and_at_the_end(tmp_path):
    for _ in range(2):
        with RunLog("validate", tmp_path, "WARNING") as log:
            log.info("below the level")
            for step in range(1, 501):
                log.progress(step, 500)
    written = events(tmp_path)
    assert {event["kind"] for event in written} == {"progress"}
    assert len({event["run"] for event in written}) == 2
    assert (written[-1]["step"], len(written) < 100) == (500, True)


def test_the_time_left_is_right_from_its_first_number(tmp_path, monkeypatch):
    """Neither what was done before a resume nor another count is taken for speed."""
    with RunLog("validate", tmp_path) as log:
        for now_s, step, total in ((999, 1000, 2000), (1060, 1061, 2000), (1121, 5, 100)):
            monkeypatch.setattr("pillsnap.stage.log.time.monotonic", lambda now_s=now_s: now_s)
            log.progress(step, total)
        monkeypatch.undo()
    found = events(tmp_path)
    lines = [event["message"] for event in found if event["kind"] == "log"]
    assert lines == ["1061 of 2000, 1.0/s, 939 s left", "5 of 100"]
    rates = [event["metrics"]["per_second"] for event in found if event["kind"] == "progress"]
    assert rates == [None, 1.0, None]


def test_the_bar_estimates_no_time_before_the_rate_has_settled():
    bar, shown = Bar("scan"), []
    for now_s, step in ((0, 1), (0.1, 9), (2, 11), (4, 13)):
        bar._progress.get_time = lambda now_s=now_s: now_s
        bar.update(step, 100)
        shown.append(bar._progress.columns[-1].render(bar._progress.tasks[0]).plain)
    assert shown == ["-:--:--", "-:--:--", "0:00:18", "0:00:29"]


def test_a_line_about_a_path_that_is_not_utf8_is_an_event(tmp_path):
    with RunLog("validate", tmp_path, "ERROR") as log:
        log.failure(os.fsdecode(b"\xbe\xcb.png is missing"), "", [])
    assert events(tmp_path)[-1]["message"] == "\ufffd\ufffd.png is missing"
