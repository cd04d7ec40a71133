"""Documents that cannot rot: tables made from the code, links that lead somewhere."""

import re

import pytest
import yaml

from make import module_table
from make.import_graph import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*.md")])


def test_stage_table_says_what_dvc_yaml_says():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows = [f"| `{name}` | {stage['desc']} |" for name, stage in stages.items()]
    assert "\n".join(rows) in README


def test_the_first_command_is_seen_without_scrolling():
    lines = README.splitlines()
    assert lines.index("python3 run.py demo") <= 16


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_named_in_documents_exist(page):
    text = module_table.MARKED.sub("", page.read_text(encoding="utf-8"))
    for name in re.findall(r"(?<![\w/.*>])(?:[\w-]+/)+\w+\.py\b", text):
        roots = (ROOT, ROOT / "src" / "pillsnap")
        assert any((root / name).is_file() for root in roots), name


def test_scale_table_says_what_params_yaml_says():
    scales = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["scales"]
    for name, scale in scales.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| {name} |"))
        assert f"{scale['samples']:,}" in row
        assert f"{scale['classes']:,}" in row


def test_korean_twin_has_the_same_commands():
    korean = (ROOT / "README.ko.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:python3 run|dvc |pillsnap |export )[^#\n]*", README, re.MULTILINE)
    assert [line for line in commands if line.strip() not in korean] == []


def test_the_list_of_modules_is_that_of_their_docstrings():
    page = module_table.PAGE.read_text(encoding="utf-8")
    assert module_table.MARKED.search(page).group() == module_table.rendered(), module_table.__doc__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_unfinished(page):
    assert not re.search(r"^[A-Z_]{6,}$", page.read_text(encoding="utf-8"), re.MULTILINE)
