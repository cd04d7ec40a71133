"""Commands that refusals and documents offer, each run in the state it is offered for, and what is
then true. tests/house/executed.tsv names the test of every other command."""

import json
import math
import re
import shutil
import subprocess
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from house.test_commands import COMMAND, typed
from make import tiny_project
from make.tiny_project import run, stages_run
from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.cli import app
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import MachineError, UserError
from pillsnap.evaluation import metrics, outputs
from pillsnap.formats import fingerprint
from pillsnap.interchange import command as interchange
from pillsnap.manifest import build
from pillsnap.operation import readiness, targets, unfinished, verify
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction.load import check_checkpoints
from pillsnap.recognition import calibration
from pillsnap.release import export
from pillsnap.release.bundle import Bundle
from pillsnap.stage.engines import Engine
from pillsnap.training import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LIVE = "artifacts/demo/live/detection/summary.json"
CHECKPOINTS = "artifacts/demo/checkpoints/demo_"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tiny_project.demo_run_with_remote(tmp_path_factory, "offered", "plain")


def out_of_date(project):
    return json.loads(run(project, "dvc", "status", "--json").splitlines()[-1])


def cut(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-40])


def without(path):
    path.unlink()


def written(content):
    return lambda path: path.write_bytes(content)


def other_order(path):
    head, *rows = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([head, *reversed(rows)]), "utf-8")


def shortened(path):
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-20]), "utf-8")


def places():
    return Places.of(load())


def calibrated(path):
    calibration.load(path, files.sha256_of(places().checkpoint("classification")))


def verified(_):
    params = load()
    folders = params.data_dir, params.artifacts_dir
    found = verify.verify(Path(), None, *folders, Engine(), lambda *_: None)
    for damage in found.damages:
        raise UserError(damage.fact, damage.cure)


def exported(_):
    shutil.rmtree("out", ignore_errors=True)
    interchange.export("imagefolder", places(), Path("out"), 5)
    shutil.rmtree("out")


def startable(classes):
    unfinished.check_start(places().checkpoint("classification"), classes)


def without_numbers(path):
    weights, config = checkpoints.load_published(path)
    weights["fc.weight"] = weights["fc.weight"] * math.nan
    path.unlink()  # it may be a link into the cache
    checkpoints.publish(path, weights, config)


def ranked(path):
    tool = classifier.load(path, torch.device("cpu"), None)
    crop = CropStore(places().crops("val")).decode(0)
    metrics.ranks(tool.classify(crop[None])[0], np.zeros(1, np.int64))


def of_these_classes(classes):
    path, own = places().checkpoint("classification"), manifest.class_table_hash(classes)
    classifier.load(path, torch.device("cpu"), own)


def validated(_):
    done = subprocess.run(["python", "src/validate.py"], capture_output=True, text=True,
                          env=tiny_project.environment(Path.cwd()))  # fmt: skip
    if done.returncode:
        raise UserError("", done.stderr.partition("\n  -> ")[2].partition("\n")[0])


def built(path):
    """As after a build_manifest that was killed: DVC removes a stage's outs first."""
    if not path.exists():
        raise MachineError("A worker process was killed.", build.KILLED)


def copied(_):
    Path("out").mkdir(exist_ok=True)
    export._copy(places(), Bundle(Path("out")), None)
    shutil.rmtree("out")


CASES = [  # the file, its damage, and who reads it
    ("data/demo/crops/val.arrow", without, lambda path: CropStore(path).arrow),
    ("data/demo/crops/val.arrow", cut, lambda path: CropStore(path).arrow),
    ("data/demo/crops/train.arrow", without, exported),
    ("artifacts/demo/manifest_val.csv", without, manifest.read),
    ("artifacts/demo/manifest_val.csv", without, built),
    ("artifacts/demo/manifest_train.csv", shortened, validated),
    ("artifacts/demo/manifest_val.csv", written(b'a,"b\n1,2,3'), manifest.read),
    ("artifacts/demo/manifest_val.csv", written(b"a,b\n1,2\n"), manifest.read),
    ("artifacts/demo/classes.csv", other_order, manifest.read_classes),
    ("artifacts/demo/classes.csv", cut, startable),
    ("artifacts/demo/classes.csv", cut, verified),
    ("artifacts/demo/classes.csv", other_order, of_these_classes),
    ("artifacts/demo/classes.csv", without, copied),
    (f"{CHECKPOINTS}recogniser.json", cut, calibrated),
    ("artifacts/demo/metrics.json", without, lambda _: targets.headlines(load())),
    ("artifacts/demo/evaluation.json", cut, lambda _: targets.stale(load())),
    ("artifacts/demo/sampling.json", cut, lambda _: readiness.points(load(), True)),
    ("data/fingerprints/demo.json", cut, fingerprint.read),
    (f"{CHECKPOINTS}detection_best.pt", without, lambda _: check_checkpoints(places())),
    (f"{CHECKPOINTS}detection_best.pt", cut, checkpoints.load_published),
    (f"{CHECKPOINTS}classification_best.pt", without_numbers, ranked),
    (LIVE, cut, lambda path: outputs.report_of(path, "train_detection")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "read"), CASES)
def test_every_command_that_a_refusal_offers_is_a_cure(project, name, damage, read):
    path = Path(name)
    with chdir(project):
        read(path)
        ran, offered = 0, 1
        while ran < offered:
            damage(path)
            with pytest.raises(UserError) as refused:
                read(path)
            commands = COMMAND.findall(refused.value.cure)
            program, rest = commands[ran]
            run(project, program, *typed(program, rest))
            read(path)
            ran, offered = ran + 1, len(commands)


def test_after_all_cures_evaluate_alone_runs(project):
    """It reads how long the repeated trainings took."""
    assert out_of_date(project).keys() <= {"evaluate"}
    run(project, "dvc", "repro")
    assert out_of_date(project) == {}


def test_photos_that_validate_misses_are_restored_or_left_out(project):
    lock = (project / "dvc.lock").read_text()
    photos = sorted((project / "data/demo/train/images/single").rglob("K-*_90_*.png"))
    kept = {photo: project / f"{number}.png" for number, photo in enumerate(photos)}
    for photo, copy in kept.items():
        photo.rename(copy)
    with chdir(project), pytest.raises(UserError) as refused:
        validated(None)
    restored, left_out, again = COMMAND.findall(refused.value.cure.replace(" and ", ", "))
    for photo, copy in kept.items():
        shutil.copy(copy, photo)
    run(project, restored[0], *typed(*restored))
    assert (project / "dvc.lock").read_text() == lock
    for photo in photos:
        photo.unlink()
    run(project, left_out[0], *typed(*left_out))
    ran = run(project, again[0], *typed(*again), "validate")
    assert stages_run(ran) == ["build_manifest", "validate"]
    for photo, copy in kept.items():
        copy.rename(photo)
    run(project, "git", "checkout", "-q", "HEAD", "data/fingerprints", "dvc.lock", "artifacts")
    run(project, "dvc", "checkout", "-q", "--force")
    assert out_of_date(project) == {}


def test_a_damaged_file_of_the_cache_is_removed_and_fetched(project):
    damaged = next(path for path in project.glob(".dvc/cache/files/md5/??/*") if not path.suffix)
    cut(damaged)
    with chdir(project), pytest.raises(UserError, match="its hash is") as refused:
        verified(None)
    remove, fetch = re.fullmatch(r"(rm \S+), then (dvc fetch) \(.*", refused.value.cure).groups()
    run(project, "sh", "-ec", f"{remove}; {fetch}")
    with chdir(project):
        verified(None)


def test_a_training_with_options_ends_and_the_way_back_leads_back(project):
    options = "--epochs 1 --batch-size 16 --detection-batch-size 8 --lr 1e-4"
    printed = run(project, "pillsnap", "train", *options.split(), "--log-level", "DEBUG", "--yes")
    assert "Goals: pillsnap targets" in printed
    with chdir(project):
        now = load()
        assert (now.train.epochs, now.batch_size, now.lr) == (1, 16, 1e-4)
    assert "Done in" in run(project, "pillsnap", "train", "--resume", "--yes")
    run(project, "pillsnap", "train", "--back")
    events = project / "artifacts/demo/live/events.jsonl"
    events.rename(project / "events.jsonl")
    start = re.search("run yet; start with: (.*)", run(project, "pillsnap", "status"))[1]
    assert "Done in" in run(project, *start.split())
    assert out_of_date(project) == {}
    (project / "events.jsonl").rename(events)
    assert len(list((project / "logs").iterdir())) == 3


def test_a_correction_is_used_by_the_next_repro(project):
    with chdir(project):
        places = Places.of(load())
    table = project / places.artifacts_dir / "manifest_train.csv"
    before = manifest.read(table)
    first = before[before["image_type"] == "single"].iloc[0]
    head = "image_path,mapping_code,action,new_code,box_x,box_y,box_w,box_h,note"
    answers = f"{head}\n{first['image_path']},{first['mapping_code']},delete,,,,,,\n"
    (project / "a.csv").write_text(answers, "utf-8")
    assert "git add" in run(project, "pillsnap", "review", "--apply", "a.csv")
    assert stages_run(run(project, "dvc", "repro", "validate")) == ["build_manifest", "validate"]
    assert len(manifest.read(table)) == len(before) - 1
    counts = json.loads((project / places.sampling).read_text())["corrections"]
    assert counts == {"rows": 1, "used": {"delete": 1}}
    (project / "data/corrections/demo.csv").unlink()
    run(project, "dvc", "repro", "validate")
    assert manifest.read(table).equals(before)


DOCUMENTED = """\
pillsnap export --out bundle: Wrote bundle
pillsnap verify bundle: bundle: 0 damaged
pillsnap predict folder --backend onnx --model bundle: 3 answered, 0 refused
pillsnap predict folder --annotate named: 3 answered
pillsnap predict folder --codes ward.txt: 3 answered
pillsnap predict folder/1.png --single --csv: edi_codes
pillsnap predict folder/1.png --single --imprint --json: "imprint"
pillsnap check folder/1.png --prescription list.csv: K-
pillsnap enroll K-123456 folder/1.png folder/2.png folder/3.png --twin --single --name X --edi 6: K
pillsnap gallery list: 3 photos
pillsnap unenroll K-123456: K-123456
pillsnap search --imprint HM --colour 하양: drugs
pillsnap evaluate-folder photos: 1 photo
pillsnap export-data --format imagefolder pills/a: pills/a
pillsnap export-data --format hf pills/b: pills/b
pillsnap export-data --format yolo pills/c: pills/c
pillsnap export-data --format coco pills/d: pills/d
pillsnap export-data --format label-studio pills/e: pills/e
pillsnap export-data --format fiftyone pills/f: pills/f
pillsnap review --count 9: of
pillsnap review --from pills/e/tasks.json: 0 rows added
pillsnap status: evaluate
pillsnap verify: 0 damaged
pillsnap compare: classification.top1
pillsnap fingerprint: data/fingerprints/demo.json
pillsnap --version: pillsnap 0.1"""


def test_documented_commands_run_after_the_demo(project, monkeypatch):
    """In order, in one process: programs of their own would import torch each time."""
    monkeypatch.chdir(project)
    photos = sorted(project.glob("data/demo/train/images/single/*/*/*_75_*.png"))[:3]
    code = photos[0].parent.name
    for folder in ("folder", f"photos/{code}", "pills"):
        (project / folder).mkdir(parents=True)
    for number, photo in enumerate(photos, start=1):
        shutil.copy(photo, project / f"folder/{number}.png")
    shutil.copy(photos[0], project / f"photos/{code}")
    (project / "ward.txt").write_text(f"{code}  # a comment\n")
    (project / "list.csv").write_text(f"code,count\n{code},1\n")
    for line in DOCUMENTED.splitlines():
        command, _, words = line.partition(": ")
        if "predict" in command and "--imprint" in command and not find_spec("rapidocr"):
            continue
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command.split()[1:])
        assert words in done.output, (command, done.output, done.exception)
        assert done.exit_code in ((0, 3) if " check " in command else (0,)), command
    assert "pills.jpg" in " ".join(path.name for path in (project / "named").iterdir())
