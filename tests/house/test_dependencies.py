"""Dependencies: each is imported or says why it is needed, and requirements.txt pins it."""

import ast
import re
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from make.import_graph import ROOT, SRC

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
EXTRAS = PROJECT["optional-dependencies"]
PIPELINE = [*PROJECT["dependencies"], *EXTRAS["train"]]
PINNED = re.compile(r"^([\w.-]+)(?:\[\S+\])?==([^\s;\\]+).*\n((?:    .*\n)+)", re.MULTILINE)
PINS = PINNED.findall((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def imported(*folders):
    """Distributions of the modules that the files of the folders import."""
    nodes = [
        node
        for folder in folders
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    tops, owners = {name.partition(".")[0] for name in names}, packages_distributions()
    return {canonicalize_name(owner) for top in tops for owner in owners.get(top, ())}


@pytest.mark.parametrize(
    ("wanted", "folders"),
    [([*PIPELINE, *EXTRAS["onnx"]], [SRC]), (EXTRAS["dev"], [ROOT / "tests", ROOT / "benchmarks"])],
)
def test_every_dependency_is_imported_or_has_a_reason(wanted, folders):
    used = imported(*folders)
    without = [one for one in wanted if canonicalize_name(Requirement(one).name) not in used]
    assert [one for one in without if not re.search(rf'"{re.escape(one)}", +# \w', TEXT)] == []


def test_requirements_txt_pins_what_pyproject_asks_for():
    wanted = [*PIPELINE, *EXTRAS["dev"]]
    asked = {canonicalize_name(Requirement(one).name): Requirement(one) for one in wanted}
    direct = [(name, pin) for name, pin, via in PINS if "pillsnap (pyproject.toml)" in via]
    assert {canonicalize_name(name) for name, _ in direct} == set(asked)
    assert [
        pin for name, pin in direct if pin not in asked[canonicalize_name(name)].specifier
    ] == []
