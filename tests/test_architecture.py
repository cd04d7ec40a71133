"""The house rules that a machine can hold: layers, deps, sizes of modules."""

import re

import pytest
import yaml

from import_graph import ROOT, SRC, closure, imported

STAGES = ["build_manifest", "validate", "train_detection", "train_classification", "evaluate"]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted((SRC / "pillsnap").rglob("*.py"))
GROUND = {"params", "boxes", "errors", "atomic"}


def test_pipeline_has_the_five_stages_in_order():
    assert list(PIPELINE) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_exactly_the_code_a_stage_imports(stage):
    needed = {str(path.relative_to(ROOT)) for path in closure(SRC / f"{stage}.py")}
    named = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")}
    assert named == needed


@pytest.mark.parametrize("stage", STAGES)
def test_stage_script_is_wiring(stage):
    assert len((SRC / f"{stage}.py").read_text().splitlines()) <= 80


@pytest.mark.parametrize("stage", STAGES)
def test_stage_params_exist_in_params_yaml(stage):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for scale in tree["scales"]:
        for name in PIPELINE[stage]["params"]:
            node = tree
            for part in name.replace("${scale}", scale).split("."):
                assert part in node, f"{name} at scale {scale}"
                node = node[part]


@pytest.mark.parametrize("library", ["ultralytics", "timm"])
def test_one_module_imports(library):
    pattern = re.compile(rf"^\s*(from|import) {library}\b", re.MULTILINE)
    package = SRC / "pillsnap"
    owners = {
        path.relative_to(package).parts[0]
        for path in MODULES
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert owners == {{"ultralytics": "detector", "timm": "classifier.py"}[library]}


def test_monitor_needs_neither_torch_nor_dvc():
    for path in (SRC / "pillsnap" / "monitor").glob("*.py"):
        for file in closure(path):
            heavy = re.search(r"^\s*(from|import) (torch|dvc)\b", file.read_text(), re.MULTILINE)
            assert heavy is None, f"{path.name} needs {file.name}"


def test_ground_modules_import_ground_only():
    for name in GROUND:
        below = {path.stem for path in imported(SRC / "pillsnap" / f"{name}.py")}
        assert below <= GROUND


def test_no_import_cycles():
    for path in MODULES:
        reached = (
            set().union(*(closure(file) for file in imported(path))) if imported(path) else set()
        )
        assert path not in reached or path.name == "__init__.py", path.name


def test_stages_never_import_stages():
    for stage in STAGES:
        text = (SRC / f"{stage}.py").read_text()
        assert not any(re.search(rf"import {other}\b", text) for other in STAGES)


def test_every_parameter_has_a_comment():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    repeated = re.search(r"  stage1:.*?(?=\n\w)", text, re.DOTALL)  # explained at scales.demo
    lines = text.replace(repeated.group(), "").splitlines()
    assert [line for line in lines if re.match(r"^ *\w+: \S", line) and "#" not in line] == []


def test_repository_speaks_of_no_other_place():
    words = re.compile(r"\.\./shared|/work/|/root/|\bTODO\b|\bFIXME\b")
    for path in [*MODULES, ROOT / "run.py", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        assert not words.search(path.read_text(encoding="utf-8")), path
