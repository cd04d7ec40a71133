"""The run log: one whole JSON line per event, in the schema the monitor reads."""

import json

from pillsnap.stage.log import RunLog

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
