import json
import re
import subprocess
import sys
import tomllib
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from make import evaluated_project
from make.drawn_models import GREEN, RED, frame
from make.import_graph import ROOT
from pillsnap.errors import CheckpointError, ParameterError
from pillsnap.prediction import load
from pillsnap.release.bundle import Bundle

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


@pytest.fixture
def bundle(tmp_path_factory) -> Bundle:
    return evaluated_project.exported(tmp_path_factory.getbasetemp())


def test_a_back_end_that_does_not_exist_is_refused(bundle) -> None:
    with pytest.raises(ParameterError, match="torch, onnx"):
        load.load("tensorflow", bundle.folder, "cpu")


@pytest.mark.parametrize("backend", load.BACKENDS)
def test_every_back_end_names_pills_out_of_a_bundle(bundle, backend: str) -> None:
    loaded = load.load(backend, bundle.folder, "cpu")
    pills = loaded.recogniser.recognise([PAIR], top=1)[0]
    assert (loaded.backend, loaded.scale, loaded.max_pixels) == (backend, "demo", 10**6)
    assert pills[0].candidates[0].code in set(loaded.recogniser.classes["mapping_code"])


def test_without_a_bundle_torch_reads_the_projects_checkpoints(tmp_path_factory) -> None:
    places = evaluated_project.made(tmp_path_factory.getbasetemp())
    with chdir(places.artifacts_dir.parent.parent):
        loaded = load.load("torch", None, "cpu")
    assert loaded.recogniser.classifier.config["architecture"] == "test_resnet"


def test_without_a_bundle_onnx_says_how_to_make_one(tmp_path_factory) -> None:
    places = evaluated_project.made(tmp_path_factory.getbasetemp())
    with (
        chdir(places.artifacts_dir.parent.parent),
        pytest.raises(CheckpointError, match="no release bundle"),
    ):
        load.load("onnx", None, "cpu")


def requirements() -> set[str]:
    """Packages that pyproject.toml asks for itself."""
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {re.split("[=>]=", line)[0].strip() for line in tree["project"]["dependencies"]}


def named_in_docs() -> set[str]:
    """Packages that docs/use.md says naming without torch needs."""
    page = (ROOT / "docs/use.md").read_text("utf-8")
    told = re.search(r"install -c pins\.txt (.*?)\nnaming/", page, re.DOTALL)[1]
    return set(told.replace("\\", " ").split())


def without(packages: set[str], folder: Path, *arguments: object) -> dict:
    """What `pillsnap` does in `folder` where these packages cannot be imported."""
    program = [sys.executable, ROOT / "tests/make/without_torch.py", ",".join(sorted(packages))]
    done = subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "errors": done.stderr}


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.fromarray(PAIR).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.slow
def test_onnx_names_pills_with_nothing_but_the_packages_that_docs_name(bundle, photo) -> None:
    missing = requirements() - named_in_docs()
    assert {"torch", "ultralytics", "timm"} <= missing
    asked = ("predict", photo, "--backend", "onnx", "--model", bundle.folder, "--json")
    [picture] = json.loads(without(missing, photo.parent, *asked)["printed"])
    expected = load.load("onnx", bundle.folder, "cpu").recogniser.recognise([PAIR], top=5)[0]
    assert expected
    assert picture["pills"] == json.loads(json.dumps([asdict(pill) for pill in expected]))


@pytest.mark.slow
def test_docs_name_no_package_that_naming_does_not_need(bundle, photo) -> None:
    asked = ("predict", photo, "--backend", "onnx", "--model", bundle.folder)
    used = without({"torch"}, photo.parent, *asked)["used"]
    canonical = {name.lower().replace("_", "-") for name in used}
    assert named_in_docs() - canonical == set()


@pytest.mark.slow
def test_without_torch_its_back_end_is_refused_in_words(bundle, photo) -> None:
    told = without({"torch"}, photo.parent, "predict", photo, "--model", bundle.folder)
    assert told["code"] == 1
    assert "--backend onnx does without it" in told["errors"]
    assert "Traceback" not in told["errors"]
