"""docs/own-photos.md: its commands take a drawn YOLO set from init-scale to metrics and report."""

import json
import re
import shlex

import pytest
import yaml

from house.test_commands import COMMAND, typed
from make import own_sets, tiny_project
from make.import_graph import ROOT
from make.tiny_project import run, stages_run

PAGE = (ROOT / "docs/own-photos.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ROOT_IN_PAGE = "/disk/pills"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_commands_of_the_page_lead_to_metrics_and_a_report(tmp_path):
    project = tiny_project.copy_to(tmp_path / "project")
    photos = own_sets.yolo(tmp_path / "my photos", own_sets.photos(64))
    own_sets.save(own_sets.photos(1)[0], photos / "images").rename(photos / "images/1.jpg")
    settings, commands = re.search(
        r"```yaml\n(.*?)```\n\nThen:\n\n```\n(.*?)```", PAGE, re.DOTALL
    ).groups()
    tiny_project.set_params(project, yaml.safe_load(settings.replace(ROOT_IN_PAGE, str(photos))))
    first, *others = [shlex.split(line, comments=True) for line in commands.splitlines()]
    printed = run(project, *first)
    tiny_project.set_params(project, {"build_manifest": {"val_unknown_pills": 3}})
    refused = run(project, "dvc", "exp", "run", "-S", "scale=phone", code=255)
    [(program, rest)] = COMMAND.findall(refused[refused.index("  -> Set both to 0") :])[:1]
    assert "evaluate" in stages_run(run(project, program, *typed(program, rest)))
    [options] = re.findall("^pillsnap train --scale stage3 (--epochs.*)", OPERATIONS, re.MULTILINE)
    others.append(["pillsnap", "train", "--scale", "phone", *options.replace("18", "2").split()])
    for words in others:
        printed += run(project, *[word.replace(ROOT_IN_PAGE, str(photos)) for word in words])
    assert printed.count("Done in") == 2
    assert "left out, background_photo: 7" in printed
    metrics = json.loads((project / "artifacts/phone/metrics.json").read_text())
    assert metrics["classification"]["pills"] >= 10 and metrics["unknown"]["auroc"] is None
    assert metrics["detection"]["frames"] > 5 and metrics["pipeline"]["frames"] > 5
    assert "타이레놀" in (project / "artifacts/phone/report.html").read_text(encoding="utf-8")
    verdict = json.loads((project / "artifacts/phone/validation.json").read_text())
    warned = {check["name"] for check in verdict["checks"] if check["status"] != "pass"}
    assert verdict["ok"] and "groups_unknown" in warned
    assert stages_run(run(project, "dvc", "repro")) == []
    assert ": 0 damaged" in run(project, "pillsnap", "verify")
