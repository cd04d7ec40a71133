"""Commands under other locales, without a home and without a library of the system."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest

from make.import_graph import ROOT
from make.tiny_project import environment
from pillsnap import surroundings

DRUG = "타이레놀정500밀리그람 ™"
PRINTS = f"""
import sys
from pillsnap import surroundings
from pillsnap.errors import DataError
from pillsnap.prediction import output
from pillsnap.recognition.recogniser import Candidate, Pill
surroundings.prepare(sys.argv)
first = Candidate("K-000250", {DRUG!a}, 0.9)
named = (True, first.code, {DRUG!a}, ("645302132",), 0.9)
pill = Pill((1, 2, 30, 40), *named, 0.98, (first,), (first.code,), 1.0, 1.0)
refused = DataError({DRUG!a}, "cure")
answers = [output.Answer({DRUG!a}, [pill], None), output.Answer("x\\udcb0.png", [], refused)]
form = next((name for name in ("json", "csv") if "--" + name in sys.argv), "table")
output.write(form, answers, sys.stdout)
"""
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "ascii:strict": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp949": {"PYTHONIOENCODING": "cp949"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "the C locale, without its UTF-8 mode": {
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    },
}  # fmt: skip


def call(folder, variables, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True,
        env=environment(ROOT, **variables),
    )  # fmt: skip


def printed(name, *arguments):
    done = call(ROOT, ENCODINGS[name], "-c", PRINTS, *arguments)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


@pytest.mark.parametrize("name", ENCODINGS)
def test_json_and_csv_are_utf8_and_tables_show_what_they_can(name):
    tree = json.loads(printed(name, "--json").decode("utf-8"))
    assert DRUG in json.dumps(tree, ensure_ascii=False)
    rows = list(csv.reader(io.StringIO(printed(name, "--csv").decode("utf-8"))))
    assert any(DRUG in row for row in rows)
    assert b"K-000250" in printed(name)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["preflight"], ["status"]])
def test_no_command_ends_in_a_unicode_error(name, command, tmp_path):
    folder = tmp_path / "알약"
    folder.mkdir()
    done = call(folder, ENCODINGS[name], "-m", "pillsnap.cli", *command)
    assert b"Unicode" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("given", [{}, {"HOME": "/somewhere", "LOGNAME": "me"}])
def test_a_user_without_an_entry_gets_a_name_and_a_home(monkeypatch, tmp_path, given):
    def none(_):
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", none)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", given.copy())
    surroundings.prepare([])
    expected = {"HOME": str(tmp_path / ".checkpoints/home"), "LOGNAME": f"uid{os.getuid()}"} | given
    assert {name: os.environ[name] for name in expected} == expected


@pytest.mark.slow
def test_dvcs_experiments_run_for_a_uid_that_nobody_has(tmp_path):
    script = """
import os, subprocess, sys
from pillsnap import surroundings
surroundings.prepare([])
git = "git init -q && git add -A && git commit -qm x && dvc init -q && git commit -qm dvc"
sys.exit(subprocess.call(git + " && dvc exp run -S seed=2", shell=True))
"""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages: {one: {cmd: echo 1 > out, params: [seed], outs: [out]}}\n"
    )
    variables = environment(ROOT)
    for name in ("HOME", "USER", "LOGNAME"):
        variables.pop(name, None)
    done = subprocess.run(
        ["unshare", "--user", "--map-user=1042", "--map-group=1042", sys.executable, "-c", script],
        cwd=tmp_path, capture_output=True, text=True, env=variables,
    )  # fmt: skip
    if done.stderr.startswith("unshare"):
        pytest.skip(f"no user namespace can be made here: {done.stderr.strip()}")
    assert "Ran experiment" in done.stdout, done.stderr


MISSING = "cannot open shared object file: No such file or directory"
MESSAGES = [
    *(f"{name}: {MISSING}" for name in ("libGL.so.1", "libgthread-2.0.so.0", "libstdc++.so.6")),
    "/lib/x86_64-linux-gnu/libGL.so.1: file too short",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_library_that_the_system_lacks_is_one_screen(tmp_path, message):
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})")
    variables = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    done = call(ROOT, variables, "-m", "pillsnap.cli", "predict", "x.png")
    shown = done.stderr.decode()
    assert (done.returncode, "Traceback" in shown, message in shown) == (1, False, True)
    assert "sudo apt install libgl1 libglib2.0-0" in shown


def test_another_import_error_is_a_bug_and_keeps_its_traceback():
    for text in ("cannot import name 'x'", "No module named 'lib.so'", ""):
        assert surroundings.missing_library(ImportError(text)) is None


LINUX_ONLY = re.compile(
    r"os\.(sched_\w+|posix_f\w+|memfd_\w+|pidfd_\w+|eventfd|splice|copy_file_range|[gs]etres\w+)\("
)


@pytest.mark.parametrize("path", [ROOT / "run.py", *sorted((ROOT / "src").rglob("*.py"))], ids=str)
def test_what_macos_lacks_is_not_called_without_a_guard(path):
    lines = path.read_text("utf-8").splitlines()
    calls = [at for at, line in enumerate(lines) if LINUX_ONLY.search(line)]
    assert [lines[at] for at in calls if "hasattr(os, " not in lines[at - 1]] == []


def test_run_py_and_the_commands_name_the_same_packages():
    text = (ROOT / "run.py").read_text("utf-8").replace('"\n    "', "")
    assert surroundings.LIBRARIES.removeprefix("Install it and what else OpenCV needs. ") in text
