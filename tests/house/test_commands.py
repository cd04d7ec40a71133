"""Commands in documents and messages exist with their options; every command is documented."""

import ast
import re
import runpy
from functools import cache

import click
import pytest
from dvc.cli.parser import get_main_parser
from typer.main import get_command

from make.import_graph import ROOT, SRC
from pillsnap import params
from pillsnap.cli import app
from pillsnap.places import STAGES

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*.md")])
MODULES = sorted([*SRC.rglob("*.py"), *SRC.rglob("*.yaml")])
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`]+)`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<![\w/.-])(pillsnap|dvc|python3 run\.py)((?: +[^\s`;|&()#,\"<>]+)+)")
TREE = params.read(ROOT / "params.yaml")
EXECUTED = ROOT / "tests/house/executed.tsv"
JOBS = runpy.run_path(str(ROOT / "run.py"))["JOBS"]


def in_page(page):
    """The commands in code blocks and code spans."""
    found = CODE.findall(page.read_text(encoding="utf-8"))
    text = "\n".join(block or span for block, span in found).replace("\\\n", " ")
    return COMMAND.findall(re.sub(r"^(from|import) .*", "", text, flags=re.MULTILINE))


def in_module(path):
    """The commands in strings other than docstrings; values of f-strings are {}."""
    if path.suffix == ".yaml":
        text = path.read_text(encoding="utf-8")
        yield from COMMAND.findall(re.sub("[가-힣]", ";", text))  # a Korean particle ends a command
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            text = "".join(getattr(part, "value", "") if isinstance(part, ast.Constant) else "{}"
                           for part in node.values)  # fmt: skip
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = "" if id(node) in skipped else node.value
        yield from COMMAND.findall(text)


@cache
def grammar(program, *names):
    """The options and the subcommands of a command."""
    if program == "dvc":
        parser = get_main_parser()
        for name in names:
            parser = subcommands(parser)[name]
        return set(parser._option_string_actions), set(subcommands(parser))
    command = get_command(app)
    for name in names:
        command = command.commands[name]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return options | {"--help"}, set(getattr(command, "commands", ()))


def subcommands(parser):
    groups = [group.choices for group in parser._actions if isinstance(group.choices, dict)]
    return groups[0] if groups else {}


def unknown(program, words):
    """The first word that the program does not take; arguments after the command are not judged."""
    if program.startswith("python3"):
        job = next((word for word in words if word != "--cpu"), "no job")
        return "" if job in JOBS else job
    names, words = [], [word.rstrip(".:") for word in words]
    for word, value in zip(words, [*words[1:], ""], strict=True):
        options, commands = grammar(program, *names)
        if word in commands:
            names.append(word)
        elif re.match("--?[a-z]", word, re.IGNORECASE):
            if word.partition("=")[0] not in options:
                return word
            key = value.strip("'").partition("=")[0]
            section, _, name = key.rpartition(".")
            is_set = word == "-S" and key != "key" and "{" not in key
            if is_set and name not in (params.at(TREE, section) if section else TREE):
                return value
        elif commands and word[0].isalpha():
            return word
    return ""


def typed(program, rest):
    """The words of a command, without the sentence that goes on behind it."""
    first = re.split(r"[.:] +[A-Z]", rest)[0]  # sentence
    words, names, kept, value = [word.rstrip(".:") for word in first.split()], [], [], False
    if program.startswith("python3"):
        return [word for word in words if word in JOBS or word.startswith("-")]
    for word in words:
        if word in grammar(program, *names)[1]:
            names.append(word)
        elif word.isalpha() and word.islower() and word not in STAGES and not value:
            break
        kept.append(word)
        value = word.startswith("-") and word not in ("--force", "--workspace", "-w", "-f", "-s")
    return kept


def kind_of(program, rest):
    """A command by its subcommands, options, stages, and keys of -S."""
    names, kept, before = [], [], ""
    for word in typed(program, rest):
        known = () if program.startswith("python3") else grammar(program, *names)[1]
        names += [word] * (word in known)
        if word in (*known, *STAGES, *JOBS) or word.startswith("-") or before == "-S":
            kept.append(word.strip("'").partition("=")[0])
        before = word
    return " ".join([program, *kept])


def offered():
    """(kind of command, room of its message or `docs`), sorted."""
    src = {
        (kind_of(*found), path.relative_to(SRC / "pillsnap").parts[0].removesuffix(".py"))
        for path in MODULES
        for found in in_module(path)
    }
    return sorted(src | {(kind_of(*found), "docs") for page in PAGES for found in in_page(page)})


def test_every_offered_command_is_run_by_a_test_or_the_table_says_why_not():
    """executed.tsv: command, room, tests; `~`: run, but not after that very failure; `-`: why not.

    After a change of messages: give each new pair its line, remove those that went."""
    rows = [line.split("\t") for line in EXECUTED.read_text("utf-8").splitlines()]
    assert sorted((command, room) for command, room, _ in rows) == offered()
    for test in {one for *_, tests in rows for one in tests.split() if tests[0] != "-"} - {"~"}:
        path, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text("utf-8"), test


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=str)
def test_commands_exist_with_their_options(path):
    found = in_page(path) if path.suffix == ".md" else in_module(path)
    wrong = {f"{program}{rest}": unknown(program, rest.split()) for program, rest in found}
    assert {command: word for command, word in wrong.items() if word} == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pillsnap trian", "trian"), ("pillsnap train --epoch 3", "--epoch"),
        ("dvc exp rum", "rum"), ("dvc repro --forse validate", "--forse"), ("dvc gc -w", ""),
        ("dvc exp run -S train.epoch=3", "train.epoch=3"), ("python3 run.py tests", "tests"),
    ],
)  # fmt: skip
def test_a_mistyped_word_is_found(text, word):
    [(program, rest)] = COMMAND.findall(text)
    assert unknown(program, rest.split()) == word


def every_command(command, path="pillsnap"):
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from every_command(one, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(every_command(get_command(app))))
def test_every_command_and_option_has_help_and_is_in_a_document(path, command):
    assert command.help
    assert path in TEXT
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.opts for one in command.params if not one.help] == []
    assert [one.opts[0] for one in options if one.opts[0] not in TEXT] == []
