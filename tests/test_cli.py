"""The command line: help for every command, refusals in one screen."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from make.import_graph import ROOT
from make.tiny_project import environment
from pillsnap import cli

COMMANDS = ["demo", "fingerprint", "targets", "preflight", "train", "monitor", "status", "verify",
            "predict"]  # fmt: skip


def call(folder, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "pillsnap.cli", *arguments], cwd=folder, capture_output=True,
        text=True, env=environment(ROOT, COLUMNS="200", **more),
    )  # fmt: skip


def test_help_names_every_command():
    said = call(ROOT, "--help").stdout
    assert [name for name in COMMANDS if name not in said] == []


def test_help_needs_no_torch():
    code = "import sys; import pillsnap.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_option_is_usage(tmp_path):
    assert call(tmp_path, "train", "--no-such-option").returncode == 2


@pytest.mark.parametrize("command", ["targets", "fingerprint", "verify", "demo"])
def test_outside_the_repository_one_screen_says_where_to_go(tmp_path, command):
    done = call(tmp_path, command)
    assert done.returncode == 1
    assert "root of the repository" in done.stderr
    assert "Traceback" not in done.stderr


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


def test_targets_before_any_measurement_says_how_to_measure(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    done = call(tmp_path, "targets")
    assert done.returncode == 1
    assert "dvc repro" in done.stderr


def test_fingerprint_without_a_root_says_what_to_set(tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("scale: demo", "scale: stage3", 1), "utf-8")
    done = call(tmp_path, "fingerprint")
    assert done.returncode == 1
    assert "export PILLSNAP_DATA_ROOT=" in done.stderr
