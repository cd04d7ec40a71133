"""run.py: helpful lines instead of tracebacks, installs only when the requirements change."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from make.import_graph import ROOT


@pytest.fixture
def project(tmp_path):
    """run.py beside requirements that install nothing but a command of our own."""
    folder = tmp_path / "a b"
    folder.mkdir()
    shutil.copy(ROOT / "run.py", folder)
    (folder / "pyproject.toml").write_text("")
    (folder / "requirements.txt").write_text("")
    return folder


def call(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "run.py", *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def ready(folder):
    """A venv with commands that say they ran, installed as run.py would record it."""
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
    command = folder / ".venv/bin/pillsnap"
    command.write_text('#!/bin/sh\necho "ran $1 root=$PILLSNAP_DATA_ROOT"; exit 7\n')
    command.chmod(0o755)
    code = "import run; run.STAMP.write_text(run.fingerprint())"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def test_no_job_shows_the_usage_and_ends_with_2(project):
    done = call(project)
    assert done.returncode == 2
    assert "demo" in done.stdout


def test_old_python_gets_one_line(project):
    code = "import sys; sys.version_info = (3, 9, 1); import run; sys.exit(run.main())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer; this is 3.9" in done.stderr


def test_run_py_parses_on_old_pythons():
    import ast

    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 6))


@pytest.mark.slow
def test_the_job_runs_in_the_environment_and_gives_its_exit_code(project):
    ready(project)
    done = call(project, "demo", PILLSNAP_DATA_ROOT="/elsewhere")
    assert done.returncode == 7
    assert "ran demo root=\n" in done.stdout
    assert "installing" not in done.stdout


@pytest.mark.slow
def test_ctrl_c_waits_for_the_job_to_save(project):
    ready(project)
    job = project / ".venv/bin/pillsnap"
    job.write_text("#!/bin/sh\ntrap 'sleep 1; echo saved; exit 130' INT\necho in\nsleep 9 & wait\n")
    with subprocess.Popen(
        [sys.executable, "run.py", "demo"], cwd=project, text=True, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as started:  # fmt: skip
        assert started.stdout.readline() == "in\n"
        os.killpg(started.pid, signal.SIGINT)
        assert started.stdout.readline() == "saved\n"
    assert started.returncode == 130


@pytest.mark.slow
def test_a_failed_install_is_one_line_and_heals(project):
    ready(project)
    (project / "requirements.txt").write_text("no-such-package-of-ours==9.9.9\n")
    done = call(project, "demo", PIP_NO_INDEX="1", UV_OFFLINE="1")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("run.py: Installing requirements.txt failed")
    (project / "requirements.txt").write_text("")
    assert "ran demo" in call(project, "demo").stdout


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew(project):
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").write_text("broken")
    done = call(project, "demo", PIP_NO_INDEX="1")
    assert "making .venv" in done.stdout
    assert (project / ".venv/bin/pip").exists()
