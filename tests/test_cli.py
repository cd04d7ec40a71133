"""The command line: usage, refusals in one screen, options that become parameters."""

import errno
import os
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from make.import_graph import ROOT
from make.tiny_project import environment, run
from pillsnap import cli
from pillsnap.cli import app
from pillsnap.operation import train


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pillsnap.cli", *arguments], cwd=folder, capture_output=True,
        text=True, env=environment(ROOT, COLUMNS="200"),
    )  # fmt: skip


def test_help_needs_no_torch():
    code = "import sys; import pillsnap.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_names_the_revision_in_a_checkout_and_none_elsewhere(tmp_path):
    assert re.fullmatch(r"pillsnap \d+\.\d+\.\d+( \(git [0-9a-f]{7,}(-dirty)?\))?\n",
                        call(tmp_path, "--version").stdout)  # fmt: skip
    shutil.copytree(ROOT / "src", tmp_path / "src")
    command = (sys.executable, "-m", "pillsnap.cli", "--version")
    assert "git" not in run(tmp_path, *command)
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "git", "commit", "-qm", "first", "--allow-empty")
    revision = run(tmp_path, "git", "rev-parse", "--short", "HEAD").strip()
    assert f"(git {revision}" in run(tmp_path, *command)


def test_completion_is_installed_for_the_shell_that_asks(tmp_path):
    home = {"HOME": str(tmp_path)}
    run(tmp_path, "bash", "-c", "pillsnap --install-completion; exit $?", **home)
    words = "COMP_WORDS=(pillsnap unen); COMP_CWORD=1; _pillsnap_completion pillsnap"
    script = f". ~/.bashrc; {words}; echo ${{COMPREPLY[@]}}"
    assert run(tmp_path, "bash", "-c", script, **home) == "unenroll\n"


def test_the_options_of_train_become_keys_of_params_yaml(monkeypatch):
    calls = []
    monkeypatch.setattr(train, "train", lambda *given, **options: calls.append((given, options)))
    given = "train --scale stage1 --epochs 3 --lr 1e-4 --log-level debug --fresh -y"
    assert CliRunner().invoke(app, given.split()).exit_code == 0
    wanted = {
        "scale": "stage1", "train.epochs": 3, "train.batch_size": None,
        "train.detection_batch_size": None, "train.lr": 1e-4,
    }  # fmt: skip
    options = {"checkpoint": None, "resume": False, "log_level": "DEBUG", "yes": True}
    assert calls == [((wanted,), options)]


COMMANDS = ("targets", "compare", "fingerprint", "verify", "demo")


@pytest.mark.parametrize(
    ("scale", "command", "cure"),
    [
        *((None, command, "root of the repository") for command in COMMANDS),
        ("demo", "targets", "dvc repro"),
        ("stage3", "fingerprint", "export PILLSNAP_DATA_ROOT="),
    ],
)
def test_a_command_that_lacks_its_input_says_what_to_do(tmp_path, scale, command, cure):
    if scale:  # otherwise outside the repository
        text = (
            (ROOT / "params.yaml").read_text("utf-8").replace("scale: demo", f"scale: {scale}", 1)
        )
        (tmp_path / "params.yaml").write_text(text, "utf-8")
    done = call(tmp_path, command)
    found = (done.returncode, cure in done.stderr, "Traceback" in done.stderr)
    assert found == (1, True, False)


@pytest.mark.parametrize(
    ("number", "fact"), [(errno.ENOSPC, "The disk is full"), (errno.EIO, "The disk failed")]
)
def test_a_fault_of_the_disk_is_named_by_every_command(monkeypatch, capsys, number, fact):
    def failing():
        raise OSError(number, os.strerror(number), "bundle")

    monkeypatch.setattr(cli, "app", failing)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert fact in capsys.readouterr().err
