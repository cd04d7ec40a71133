"""run.py: helpful lines instead of tracebacks, installs only when the requirements change."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from make.import_graph import ROOT


@pytest.fixture
def project(tmp_path):
    """run.py in a package of one module, without requirements."""
    folder = tmp_path / "a b"
    folder.mkdir()
    shutil.copy(ROOT / "run.py", folder)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(BACKEND)
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


ELSEWHERE = {
    **dict.fromkeys(("PIP_USER", "PIP_DRY_RUN", "PIP_NO_DEPS", "UV_SYSTEM_PYTHON"), "1"),
    **dict.fromkeys(("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON"), "/nowhere"),
    **dict.fromkeys(("PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE"), "/nowhere.txt"),
    "PYTHONPATH": "foreign",
}


@pytest.mark.slow
def test_settings_of_the_caller_install_nothing_elsewhere(project):
    """A package of our own is installed by pip alone, without any index."""
    ready(project)
    (project / "foreign").mkdir()
    (project / "foreign/pip.py").write_text("raise SystemExit('a foreign pip')")
    (project / ".venv/installed.sha256").unlink()
    done = call(project, "demo", PIP_NO_INDEX="1", UV_OFFLINE="1", **ELSEWHERE)
    assert done.returncode == 7, done.stderr
    found = list((project / ".venv").rglob("mine_of_ours.py"))
    assert [path.parent.name for path in found] == ["site-packages"]


BACKEND = """
import zipfile
def build_editable(folder, *_):
    name = "mine_of_ours-1-py3-none-any.whl"
    files = {
        "METADATA": ["Metadata-Version: 2.1", "Name: mine_of_ours", "Version: 1"],
        "WHEEL": ["Wheel-Version: 1.0", "Generator: x", "Root-Is-Purelib: true"],
        "RECORD": [],
    }
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("mine_of_ours.py", "")
        for file, lines in files.items():
            wheel.writestr(f"mine_of_ours-1.dist-info/{file}", chr(10).join([*lines, ""]))
    return name
"""


@pytest.mark.slow
def test_a_library_that_the_system_lacks_is_named_with_its_package(project):
    ready(project)
    packages = next((project / ".venv/lib").glob("python*/site-packages"))
    for library in ("libGL.so.1", "libgthread-2.0.so.0", "libxcb.so.1"):
        message = f"{library}: cannot open shared object file: No such file or directory"
        (packages / "cv2.py").write_text(f"raise ImportError({message!r})")
        done = call(project, "demo")
        assert done.returncode == 1
        [line] = done.stderr.strip().splitlines()
        assert library in line
        assert "sudo apt install libgl1 libglib2.0-0" in line


@pytest.mark.slow
def test_a_user_without_a_home_gets_one(project):
    ready(project)
    job = project / ".venv/bin/pillsnap"
    job.write_text('#!/bin/sh\necho "home $HOME"\n')
    (project / "sitecustomize.py").write_text(
        "import pwd\ndef none(uid): raise KeyError(uid)\npwd.getpwuid = none\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "run.py", "demo"], cwd=project, capture_output=True, text=True,
        env={**environment, "PYTHONPATH": str(project)},
    )  # fmt: skip
    assert done.stdout == f"home {project / '.venv/home'}\n", done.stderr


@pytest.mark.slow
def test_a_failed_install_is_one_line_and_heals(project):
    ready(project)
    (project / "requirements.txt").write_text("no-such-package-of-ours==9.9.9\n")
    done = call(project, "demo", PIP_NO_INDEX="1", UV_OFFLINE="1")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("run.py: Installing requirements.txt failed (ERROR: No matching dist")
    (project / "requirements.txt").write_text("")
    (project / ".venv/installed.sha256").unlink()
    assert "ran demo" in call(project, "demo").stdout
    [package] = (project / ".venv").rglob("mine_of_ours-1.dist-info")
    shutil.rmtree(package)
    assert "installing" in call(project, "demo").stdout
    assert package.exists()
    assert "installing" not in call(project, "demo").stdout


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew(project):
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").write_text("broken")
    done = call(project, "demo", PIP_NO_INDEX="1")
    assert "making .venv" in done.stdout
    assert (project / ".venv/bin/pip").exists()


PINNED = (ROOT / "requirements.txt").read_text("utf-8")
NAME = re.compile(r"^([\w.-]+)(?:\[\S+\])?==", re.MULTILINE)


@pytest.fixture
def module(project):
    """run.py as a module of the project, with the real requirements and an empty .venv."""
    shutil.copy(ROOT / "requirements.txt", project)
    (project / ".venv").mkdir()
    spec = importlib.util.spec_from_file_location("run_of_project", project / "run.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_without_cuda_nothing_is_missing_but_what_torch_alone_brings(module):
    kept = module.without_cuda(PINNED)
    left_out = set(NAME.findall(PINNED)) - set(NAME.findall(kept))
    assert {"torch", "torchvision", "triton"} < left_out
    assert kept.count("--hash=sha256:") > 2 * len(NAME.findall(kept)) > 400
    for block in re.split(r"^(?=\w)", PINNED, flags=re.MULTILINE):
        name, needed_by = NAME.match(block), re.findall(r"^    #(?: via|  ) (\S+)$", block, re.M)
        if name and name[1] in left_out - {"torch", "torchvision"}:
            assert set(needed_by) <= left_out, name[1]


@pytest.mark.skipif(sys.platform != "linux", reason="no other system's torch has CUDA")
@pytest.mark.parametrize("problem", ["", "no route to host"])
def test_the_cpu_build_is_asked_for_by_version_and_pypi_serves_where_it_is_not_had(
    module, monkeypatch, capsys, problem
):
    calls = []
    monkeypatch.setattr(module, "PYTHON", "/bin/true")  # no torch yet
    monkeypatch.setattr(module, "failure", lambda command: calls.append(command) or problem)
    chosen = module.requirements_for_cpu()
    [call] = calls
    pins = re.findall(r"^torch(?:vision)?==[\d.]+", PINNED, re.MULTILINE)
    assert call[-3:] == ["https://download.pytorch.org/whl/cpu", *(f"{pin}+cpu" for pin in pins)]
    said = f"gave no torch ({problem}): PyPI's is taken" in capsys.readouterr().out
    assert said == bool(problem)
    assert chosen.name == ("requirements.txt" if problem else "requirements-cpu.txt")
    assert module.CPU.exists()  # later calls without --cpu keep to it


def test_a_torch_of_the_pinned_version_is_kept(module, monkeypatch):
    monkeypatch.setattr(module, "PYTHON", sys.executable)
    monkeypatch.setattr(module, "failure", lambda command: pytest.fail(str(command)))
    chosen = module.requirements_for_cpu()
    assert chosen == (module.CPU if sys.platform == "linux" else module.ROOT / "requirements.txt")


@pytest.mark.slow
def test_without_any_index_cpu_says_so_in_a_line_and_tries_pypi(project):
    ready(project)
    (project / "requirements.txt").write_text("torch==9.9.9\n")
    done = call(project, "--cpu", "demo", PIP_NO_INDEX="1", UV_OFFLINE="1")
    assert done.returncode == 1
    assert "download.pytorch.org/whl/cpu gave no torch (ERROR: No matching dist" in done.stdout
    assert "Installing requirements.txt failed" in done.stderr.splitlines()[-1]
    (project / "requirements.txt").write_text("")
    assert "ran demo" in call(project, "demo").stdout
    assert (project / ".venv/requirements-cpu.txt").exists()
