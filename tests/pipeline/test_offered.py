"""Commands that refusals and documents offer, each run in the state it is offered for, and what is
then true. tests/house/executed.tsv names the test of every other command."""

import json
import re
import shutil
import time
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner

from house.test_commands import COMMAND, typed
from make import tiny_project
from make.tiny_project import run, stages_run
from pillsnap import files
from pillsnap.cli import app
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import UserError
from pillsnap.evaluation import outputs
from pillsnap.formats import fingerprint
from pillsnap.interchange import command as interchange
from pillsnap.operation import readiness, targets, unfinished, verify
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction.load import check_checkpoints
from pillsnap.recognition import calibration
from pillsnap.stage.engines import Engine
from pillsnap.training import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LIVE = "artifacts/demo/live/detection/summary.json"
CHECKPOINTS = "artifacts/demo/checkpoints/demo_"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tiny_project.demo_run(tmp_path_factory, "offered", "plain")
    run(folder, "dvc", "remote", "add", "-q", "-d", "shelf", "../shelf")
    run(folder, "dvc", "push", "-q")
    run(folder, "git", "commit", "-qam", "a remote")
    return folder


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


CASES = [  # the file, its damage, and who reads it
    ("data/demo/crops/val.arrow", without, lambda path: CropStore(path).arrow),
    ("data/demo/crops/val.arrow", cut, lambda path: CropStore(path).arrow),
    ("data/demo/crops/train.arrow", without, exported),
    ("artifacts/demo/manifest_val.csv", without, manifest.read),
    ("artifacts/demo/manifest_val.csv", written(b'a,"b\n1,2,3'), manifest.read),
    ("artifacts/demo/manifest_val.csv", written(b"a,b\n1,2\n"), manifest.read),
    ("artifacts/demo/classes.csv", other_order, manifest.read_classes),
    ("artifacts/demo/classes.csv", cut, startable),
    ("artifacts/demo/classes.csv", cut, verified),
    (f"{CHECKPOINTS}detection_best.pt", without, lambda _: check_checkpoints(places())),
    (f"{CHECKPOINTS}detection_best.pt", cut, checkpoints.load_published),
    (f"{CHECKPOINTS}recogniser.json", cut, calibrated),
    ("artifacts/demo/metrics.json", without, lambda _: targets.headlines(load())),
    ("artifacts/demo/evaluation.json", cut, lambda _: targets.stale(load())),
    ("artifacts/demo/sampling.json", cut, lambda _: readiness.points(load(), True)),
    (LIVE, cut, lambda path: outputs.report_of(path, "train_detection")),
    ("data/fingerprints/demo.json", cut, fingerprint.read),
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
    run(project, "dvc", "repro")  # evaluate reads how long the repeated training took
    assert json.loads(run(project, "dvc", "status", "--json").splitlines()[-1]) == {}


def test_a_damaged_file_of_the_cache_is_removed_and_fetched(project):
    damaged = next(path for path in project.glob(".dvc/cache/files/md5/??/*") if not path.suffix)
    cut(damaged)
    with chdir(project), pytest.raises(UserError, match="its hash is") as refused:
        verified(None)
    remove, fetch = re.fullmatch(r"(rm \S+), then (dvc fetch) \(.*", refused.value.cure).groups()
    run(project, "sh", "-ec", f"{remove}; {fetch}")
    with chdir(project):
        verified(None)


SETTINGS = (
    "train.device=cpu", "train.devices=1", "train.compile=off", "train.mixed_precision=off",
    "train.num_workers=0", "train.epochs=1",
)  # fmt: skip


def test_sweeps_over_seeds_with_settings_that_cures_offer(project):
    settings = [part for setting in SETTINGS for part in ("-S", setting)]
    ran = run(project, "dvc", "exp", "run", "--temp", "-S", "seed=20", *settings)
    assert stages_run(ran)[-1] == "evaluate"
    run(project, "dvc", "exp", "run", "--queue", "-S", "seed=18,19", *settings)
    run(project, "dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 600
    while re.search("Queued|Running", shown := run(project, "dvc", "queue", "status")):
        assert time.monotonic() < deadline, shown
    assert shown.count("Success") == 2, shown
    first, second, third = run(project, "dvc", "exp", "list", "--name-only").split()
    assert first in run(project, "dvc", "exp", "list", "-A")
    order = ("--sort-by", "classification.top1", "--sort-order", "desc")
    assert second in run(project, "dvc", "exp", "show", "--only-changed", *order)
    run(project, "dvc", "exp", "apply", first)
    with chdir(project):
        assert (load().seed in (18, 19, 20), load().train.compile) == (True, "off")
    assert "up to date" in run(project, "dvc", "status")
    run(project, "dvc", "exp", "branch", second, "other")
    assert "other" in run(project, "git", "branch")
    run(project, "dvc", "plots", "diff", "HEAD", "other")
    assert "other" in (project / "dvc_plots/index.html").read_text("utf-8")
    metrics = project / "artifacts/demo/metrics.json"
    tree = json.loads(metrics.read_text())
    tree["classification"]["top1"] = tree["detection"]["map50"] = None
    metrics.write_text(json.dumps(tree))
    assert re.search(r"classification.top1 .* - ", run(project, "dvc", "metrics", "diff", third))
    run(project, "dvc", "gc", "--workspace", "-f")  # -f answers DVC's question
    run(project, "pillsnap", "train", "--back")
    run(project, "git", "checkout", "-q", "HEAD", "artifacts")
    assert "fetched" in run(project, "dvc", "pull", "--force")
    assert "up to date" in run(project, "dvc", "status")


def test_a_training_with_options_ends_and_the_way_back_leads_back(project):
    options = "--epochs 1 --batch-size 16 --detection-batch-size 8 --lr 1e-4"
    printed = run(project, "pillsnap", "train", *options.split(), "--log-level", "DEBUG", "--yes")
    assert "Goals: pillsnap targets" in printed
    with chdir(project):
        now = load()
        assert (now.train.epochs, now.batch_size, now.lr) == (1, 16, 1e-4)
    assert "Done in" in run(project, "pillsnap", "train", "--resume", "--yes")
    run(project, "pillsnap", "train", "--back")
    assert "Done in" in run(project, "pillsnap", "train", "--fresh", "--yes")
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
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command.split()[1:])
        assert words in done.output, (command, done.output, done.exception)
        assert done.exit_code in ((0, 3) if " check " in command else (0,)), command
    assert "pills.jpg" in " ".join(path.name for path in (project / "named").iterdir())
