import json
import re
import shutil
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
from pillsnap.prediction import load
from pillsnap.release.bundle import Bundle

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


@pytest.fixture
def bundle(tmp_path_factory) -> Bundle:
    return evaluated_project.exported(tmp_path_factory.getbasetemp())


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.fromarray(PAIR).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("backend", load.BACKENDS)
def test_every_back_end_recognises_pills_from_a_bundle(bundle, backend: str) -> None:
    loaded = load.load(backend, bundle.folder, "cpu")
    pills = loaded.recogniser.recognise([PAIR], top=1)[0]
    assert (loaded.backend, loaded.scale, loaded.max_pixels) == (backend, "demo", 10**6)
    assert pills[0].candidates[0].code in set(loaded.recogniser.classes["mapping_code"])


def test_without_a_bundle_the_projects_checkpoints_are_used_as_docs_show(
    tmp_path_factory, photo, capsys
) -> None:
    places = evaluated_project.made(tmp_path_factory.getbasetemp())
    page = (ROOT / "docs/use.md").read_text("utf-8")
    program = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    with chdir(places.artifacts_dir.parent.parent):
        exec(program.replace("photo.jpg", str(photo)), {})
    assert re.fullmatch(
        r"(\(\d+, \d+, \d+, \d+\) (K-\d{6}|unknown) .+\n)+", capsys.readouterr().out
    )


def names_of(extra: str) -> set[str]:
    """Packages that pyproject.toml asks for, with an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (*project["dependencies"], *project["optional-dependencies"][extra])
    return {re.split("[=>]=", line)[0].strip().removesuffix("-headless") for line in lines}


def without(packages: set[str], folder: Path, *arguments: object) -> dict:
    """What `pillsnap` does in `folder` where these packages cannot be imported."""
    program = [sys.executable, ROOT / "tests/make/without_torch.py", ",".join(sorted(packages))]
    done = subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "errors": done.stderr}


@pytest.mark.slow
def test_the_onnx_extra_is_all_that_the_back_end_needs_and_no_more(bundle, photo) -> None:
    missing = names_of("train") - names_of("onnx")
    assert {"torch", "ultralytics", "timm", "dvc", "pyarrow"} <= missing
    asked = ("predict", photo, "--backend", "onnx", "--model", bundle.folder, "--json")
    [picture] = json.loads(without(missing, photo.parent, *asked)["printed"])
    expected = load.load("onnx", bundle.folder, "cpu").recogniser.recognise([PAIR], top=5)[0]
    assert expected
    assert picture["pills"] == json.loads(json.dumps([asdict(pill) for pill in expected]))
    found = without(missing, photo.parent, "search", "--imprint", "A", "--model", bundle.folder)
    assert "classes.csv" in found["printed"]
    used = without({"torch"}, photo.parent, *asked)["used"]
    canonical = {name.lower().replace("_", "-") for name in used}
    # Fonts of --annotate and Excel files of `register import`: read when they are asked for
    later = {"koreanize-matplotlib", "openpyxl"}
    assert names_of("onnx") - canonical == later


@pytest.mark.slow
def test_a_command_without_its_packages_names_the_cure(bundle, photo) -> None:
    shutil.copy(ROOT / "params.yaml", photo.parent)
    cures = dict.fromkeys([("preflight",), ("train",), ("monitor",)], "pillsnap[train]")
    cures["predict", photo, "--model", bundle.folder] = "--backend onnx works without it"
    for command, cure in cures.items():
        found = without({"psutil", "torch"}, photo.parent, *command)
        assert found["code"] == 1
        assert cure in found["errors"]
        assert "Traceback" not in found["errors"]
