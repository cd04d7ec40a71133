"""Damaged files of the project and of a bundle, before every command that loads models."""

import re
import shutil
import signal
import subprocess
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from make import bad_files, bit_flips, evaluated_project
from make.bad_files import BAD_FILES
from make.drawn_models import GREEN, RED, frame
from pillsnap import cli, files
from pillsnap.errors import UserError
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction import load
from pillsnap.prediction.gallery import EnrolledPhoto, Entry, Gallery
from pillsnap.recognition.centres import encoded

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))
CHECKPOINTS = "artifacts/demo/checkpoints/demo"
CLASSES, CALIBRATION = "artifacts/demo/classes.csv", f"{CHECKPOINTS}_recogniser.json"
DETECTOR, CLASSIFIER = (
    f"{CHECKPOINTS}_{model}_best.pt" for model in ("detection", "classification")
)
PROJECT_FILES = (CLASSIFIER, CALIBRATION, CLASSES, DETECTOR)
BUNDLE_FILES = {
    "torch": ("bundle/classification.pt", "bundle/detection.pt", "bundle/recogniser.json"),
    "onnx": (
        "bundle/bundle.json", "bundle/SHA256SUMS", "bundle/recogniser.json", "bundle/classes.csv",
        "bundle/gallery.json", "bundle/classification.onnx", "bundle/detection.onnx",
    ),
}  # fmt: skip
GALLERY = "gallery/demo.json"
PHOTO = "photos/K-000000/a.png"
COMMANDS = {
    f"predict {PHOTO}": PROJECT_FILES,
    f"predict {PHOTO} --backend onnx --model bundle": BUNDLE_FILES["onnx"],
    f"predict {PHOTO} --model bundle": BUNDLE_FILES["torch"],
    f"predict {PHOTO} --codes ward.txt": ("ward.txt",),
    "export --out new": (*PROJECT_FILES, GALLERY),
    f"enroll K-123456 {PHOTO}": (*PROJECT_FILES, GALLERY),
    "unenroll K-000777": (GALLERY,),
    "gallery list": (GALLERY,),
    "serve --port 0": PROJECT_FILES,
    "evaluate-folder photos": PROJECT_FILES,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """An evaluated project with a gallery, a bundle, a photo and a list of codes."""
    source = evaluated_project.made(tmp_path_factory.getbasetemp()).artifacts_dir.parent.parent
    folder = tmp_path_factory.mktemp("damaged") / "project"
    shutil.copytree(source, folder)
    with chdir(folder):
        Path(PHOTO).parent.mkdir(parents=True)
        Image.fromarray(PAIR).save(PHOTO)
        Path("ward.txt").write_text("K-000001\n")
        fitted = load.load("torch", None, "cpu").recogniser.calibration
        size = galleries.ANGLES, fitted.centres.means.shape[2]
        photo = EnrolledPhoto("a.png", "", np.zeros(size, np.float32))
        drugs = (Entry("K-000777", "", (), (photo,)),)
        galleries.save(Path(GALLERY), Gallery(fitted.classification_sha256, 1, drugs))
        assert pillsnap("export --out bundle") == 0
    return folder


@pytest.fixture
def project(built, monkeypatch) -> None:
    monkeypatch.chdir(built)


def pillsnap(command: str) -> int:
    """Exit code of a command in this process."""
    before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["pillsnap", *command.split()]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
    return 0


def refusal(backend: str, model: Path | None) -> str:
    with pytest.raises(UserError) as refused:
        load.load(backend, model, "cpu")
    assert refused.value.cure
    return str(refused.value)


@pytest.mark.parametrize("form", BAD_FILES)
def test_no_model_is_loaded_from_a_bad_file(project, form: str) -> None:
    read = {("torch", None): (*PROJECT_FILES, *[GALLERY] * (form != "absent"))}
    read |= {(backend, Path("bundle")): names for backend, names in BUNDLE_FILES.items()}
    for asked, names in read.items():
        for name in names:
            with bad_files.damaged(form, Path(name)):
                assert Path(name).name in refusal(*asked)


@pytest.mark.parametrize("command", [f"enroll K-123456 {PHOTO}", "unenroll K-000777"])
def test_the_gallery_is_changed_by_one_command_at_a_time(project, capsys, command: str) -> None:
    before = Path(GALLERY).read_bytes()
    with files.alone(Path(GALLERY).parent):
        assert pillsnap(command) == 1
    assert "Another command is writing into" in capsys.readouterr().err
    assert Path(GALLERY).read_bytes() == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # serve's socket
@pytest.mark.parametrize("form", BAD_FILES)
def test_every_command_refuses_a_bad_file_on_one_screen(project, form: str, capsys) -> None:
    turn = list(BAD_FILES).index(form)
    for command, names in COMMANDS.items():
        name = names[turn % len(names)]
        if (name, form) == (GALLERY, "absent"):  # nothing is enrolled
            continue
        with bad_files.damaged(form, Path(name)):
            assert pillsnap(command) == 1, (command, name)
        printed = capsys.readouterr()
        assert Path(name).name in printed.err, (command, name)
        assert "\n  -> " in printed.err
        assert len(printed.err.splitlines()) < 8
        assert not printed.out


def test_a_flipped_bit_in_a_bundle_is_refused_or_changes_nothing(project) -> None:
    use = load.load("onnx", Path("bundle"), "cpu")
    expected, refused = use.recogniser.recognise([PAIR], top=4), 0
    assert expected[0]
    for name in BUNDLE_FILES["onnx"]:
        path = Path(name)
        content = path.read_bytes()
        for damaged in bit_flips.flipped(content, 45):
            path.write_bytes(damaged)
            try:
                found = load.load("onnx", Path("bundle"), "cpu")
            except UserError:
                refused += 1
            else:  # as a line of SHA256SUMS about a file that is not loaded
                assert replace(found, recogniser=use.recogniser) == use
                assert found.recogniser.recognise([PAIR], top=4) == expected
        path.write_bytes(content)
    assert refused > 45 * (len(BUNDLE_FILES["onnx"]) - 1)


def test_a_damaged_bundle_is_cured_by_exporting_it_again(project) -> None:
    shutil.copytree("bundle", "again")
    Path("again/classification.onnx").write_bytes(b"")
    assert refusal("onnx", Path("again"))
    assert pillsnap("export --out again") == 0
    assert load.load("onnx", Path("again"), "cpu").enrolled == 1


def test_a_damaged_gallery_is_cured_by_either_way_its_message_names(project) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", GALLERY), (*identity, "commit", "-qm", "drugs")):
        subprocess.run(["git", *command], check=True)
    with bad_files.damaged("empty", Path(GALLERY)):
        with pytest.raises(UserError) as refused:
            load.load("torch", None, "cpu")
        restore, remove = re.fullmatch(
            r"Restore it \((.*)\), or (remove it) and enrol again.", refused.value.cure
        ).groups()
        subprocess.run(restore.split(), check=True)
        assert load.load("torch", None, "cpu").enrolled == 1
        assert remove
        Path(GALLERY).unlink()
        assert load.load("torch", None, "cpu").enrolled == 0


def test_a_gallery_of_an_older_version_is_cured_as_its_message_says(project) -> None:
    tree, before = files.read_sealed_json(Path(GALLERY), ""), Path(GALLERY).read_bytes()
    files.write_sealed_json(Path(GALLERY), tree | {"format": 2})
    with pytest.raises(UserError) as refused:
        load.load("torch", None, "cpu")
    assert refused.value.cure == f"Remove {GALLERY} and enroll the photos again."
    Path(GALLERY).unlink()
    assert pillsnap(f"enroll K-000777 {PHOTO} --single --device cpu") == 0
    assert load.load("torch", None, "cpu").enrolled == 1
    Path(GALLERY).write_bytes(before)


def test_the_drugs_of_a_folder_are_enrolled_at_once_but_those_that_cannot_be(
    project, capsys
) -> None:
    before = Path(GALLERY).read_bytes()
    for code in ("K-000001", "K-000901", "K-000902"):  # the first is a trained class
        Path("drugs", code).mkdir(parents=True)
        shutil.copy(PHOTO, Path("drugs", code, "a.png"))
    assert pillsnap("enroll --from drugs --single --device cpu") == 1
    printed = capsys.readouterr().out
    assert "K-000001 is a trained class already." in printed
    assert "K-000901: 1 photos\nK-000902: 1 photos\n" in printed
    assert load.load("torch", None, "cpu").enrolled == 3
    shutil.rmtree("drugs")
    Path(GALLERY).write_bytes(before)


def test_models_whose_calibration_is_of_another_shape_are_refused(project) -> None:
    tree = files.read_sealed_json(Path(CALIBRATION), "")
    tree["centres"]["means"] = encoded(np.zeros((4, 2, 3)))
    with bad_files.damaged("empty", Path(CALIBRATION)):
        files.write_sealed_json(Path(CALIBRATION), tree)
        assert "centres of shape (4, 2, 3)" in refusal("torch", None)
