"""The house rules that a machine can hold: layers, deps, sizes of modules."""

import hashlib
import re
import sys
from collections import Counter

import pytest
import yaml

from make.import_graph import ROOT, SRC, closure, imported
from pillsnap.places import STAGES

PACKAGE = SRC / "pillsnap"
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUND = {"errors", "params", "files", "boxes", "arrays", "places", "fonts", "onnx_session"}
# A room imports rooms of lower floors and the ground; docs/architecture.md draws it.
FLOORS = (
    {"stage", "dataset", "web", "imprint"},
    {"aihub", "training", "demo", "monitor"},
    {"formats"},
    {"manifest", "validation", "detection", "classification", "register", "interchange"},
    {"recognition"},
    {"evaluation", "release"},
    {"prediction", "operation"},
    {"own_photos", "service", "review"},
    {"cli_run", "cli_use", "surroundings"},
    {"cli"},
)


def room(path):
    """The folder of the package that a module is in, or its own name on the ground."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def test_pipeline_has_the_five_stages_in_order_and_descriptions_fit_a_terminal():
    assert list(PIPELINE) == list(STAGES)
    assert all(len(stage["desc"]) < 55 for stage in PIPELINE.values())
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_exactly_the_rooms_a_stage_imports(stage):
    script = SRC / f"{stage}.py"
    needed = {f"src/{stage}.py"}
    for path in closure(script) - {script}:
        single = path.parent == PACKAGE
        needed.add(f"src/pillsnap/{path.name if single else room(path)}")
    named = [dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")]
    assert sorted(named) == sorted(needed)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_params_exist_in_params_yaml(stage):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for scale in tree["scales"]:
        for name in PIPELINE[stage]["params"]:
            node = tree
            for part in name.replace("${scale}", scale).split("."):
                assert part in node, f"{name} at scale {scale}"
                node = node[part]


@pytest.mark.parametrize(
    ("library", "owner"), [("ultralytics", "detection"), ("timm", "classification")]
)
def test_one_room_imports(library, owner):
    pattern = re.compile(rf"^\s*(from|import) {library}\b", re.MULTILINE)
    assert {room(path) for path in MODULES if pattern.search(path.read_text("utf-8"))} == {owner}


@pytest.mark.parametrize("name", ["web", "monitor"])
def test_web_and_monitor_need_neither_torch_nor_dvc(name):
    for path in (PACKAGE / name).glob("*.py"):
        for file in closure(path):
            heavy = re.search(r"^\s*(from|import) (torch|dvc)\b", file.read_text(), re.MULTILINE)
            assert heavy is None, f"{path.name} needs {file.name}"


def test_rooms_import_lower_floors_only():
    floor_of = {name: number for number, names in enumerate(FLOORS) for name in names}
    floor_of |= dict.fromkeys(GROUND, -1)
    for path in MODULES:
        if path == PACKAGE / "__init__.py":
            continue
        for other in {room(file) for file in imported(path)} - {room(path)}:
            allowed = floor_of[other] < floor_of[room(path)] or {other, room(path)} <= GROUND
            assert allowed, f"{path.relative_to(PACKAGE)} imports {other}"


def test_the_ground_and_the_rooms_are_all_there_is():
    names = {room(path) for path in MODULES} - {"__init__"}
    assert names == GROUND.union(*FLOORS)
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_a_room_itself_imports_no_other_package():
    """Every module of a room loads its __init__: torch there breaks installs without torch."""
    for path in set(PACKAGE.glob("*/__init__.py")) - {PACKAGE / "params/__init__.py"}:
        names = re.findall(r"^(?:import|from) (\w+)", path.read_text("utf-8"), re.MULTILINE)
        assert set(names) <= {*sys.stdlib_module_names, "pillsnap"}, path


def test_no_import_cycles():
    for path in MODULES:
        reached = set().union(*(closure(file) for file in imported(path)))
        assert path not in reached, path.name


def test_a_stage_script_is_wiring_and_imports_no_other():
    for stage in STAGES:
        text = (SRC / f"{stage}.py").read_text()
        assert len(text.splitlines()) <= 80
        assert not re.search(rf"^(import|from) ({'|'.join(STAGES)})\b", text, re.MULTILINE)


def test_every_parameter_has_a_comment():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    repeated = re.search(r"  stage1:.*?(?=\n\w)", text, re.DOTALL)  # explained at scales.demo
    lines = text.replace(repeated.group(), "").splitlines()
    assert [line for line in lines if re.match(r"^ *\w+: \S", line) and "#" not in line] == []


def test_repository_speaks_of_no_other_place():
    words = re.compile(r"\.\./shared|/work/|/root/|\bTODO\b|\bFIXME\b")
    patterns = ("benchmarks/*.*", "deploy/*.*", ".github/*/*.yml")  # not what a run leaves there
    files = [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]
    texts = [ROOT / "run.py", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *files]
    for path in [*MODULES, *texts]:
        assert not words.search(path.read_text(encoding="utf-8")), path


def test_a_name_of_a_public_class_has_one_meaning():
    pattern = re.compile(r"^class ([A-Z]\w*)", re.MULTILINE)
    names = Counter(name for path in MODULES for name in pattern.findall(path.read_text("utf-8")))
    assert [name for name, count in names.items() if count > 1] == []


def test_what_an_edit_reruns():
    users = {
        name: [stage for stage in STAGES if f"src/pillsnap/{name}" in PIPELINE[stage]["deps"]]
        for name in set().union(*FLOORS)
    }
    nothing = (
        "operation",
        "service",
        "monitor",
        "web",
        "prediction",
        "release",
        "own_photos",
        "review",
    )
    assert all(users[name] == [] for name in (*nothing, "register", "interchange", "demo"))
    assert users["classification"] == ["train_classification", "evaluate"]
    assert users["evaluation"] == ["evaluate"]


def test_fingerprints_in_git_are_those_that_dvc_lock_names():
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].values()
    deps = {dep["path"]: dep["md5"] for stage in stages for dep in stage["deps"]}
    named = [path for path in deps if path.startswith("data/fingerprints/")]
    assert named
    for path in named:
        assert hashlib.md5((ROOT / path).read_bytes()).hexdigest() == deps[path], path
