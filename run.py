#!/usr/bin/env python3
"""Set PillSnap up and run a job: python3 run.py [--cpu] demo | test [pytest arguments] | check

Standard library only, and readable by old Pythons, so that they too get a helpful line. Makes
.venv, installs requirements.txt into it (again only when that changes), then runs the job with
the environment first on PATH and ends with the job's exit code. --cpu: without CUDA, with torch
from download.pytorch.org; .venv stays so until it is removed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.sha256"
CPU = VENV / "requirements-cpu.txt"  # there once --cpu was given
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
UV = "uv==0.13.9"
OLDEST = (3, 11)
# Settings of the caller that would install elsewhere or something else, or bring in other packages.
NOT_OURS = {
    *("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE"),
    *("PIP_CONSTRAINT", "PIP_DRY_RUN", "PIP_EDITABLE", "PIP_IGNORE_INSTALLED", "PIP_NO_DEPS"),
    *("PIP_PREFIX", "PIP_PYTHON", "PIP_REQUIREMENT", "PIP_REQUIRE_HASHES", "PIP_ROOT"),
    *("PIP_TARGET", "PIP_USER", "UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE_NEWER"),
    *("UV_NO_EDITABLE", "UV_OVERRIDE", "UV_PYTHON", "UV_REQUIRE_HASHES", "UV_SYSTEM_PYTHON"),
}
LIBRARIES = (
    "Debian, Ubuntu: sudo apt install libgl1 libglib2.0-0; "
    "Fedora: sudo dnf install mesa-libGL glib2"
)

JOBS = {
    "demo": [["pillsnap", "demo"]],
    # Two files at a time, on more cores too: some tests watch how soon a program ends.
    "test": [["python", "-m", "pytest", "-n", "2", "--dist", "loadfile"]],
    "check": [
        ["ruff", "format", "--check"],
        ["ruff", "check"],
        ["mypy"],
        ["python", "-m", "pytest", "-m", "not slow"],
    ],
}


def main() -> int:
    """Set up, run the job, return its exit code."""
    if sys.version_info < OLDEST:
        return complain(
            "PillSnap needs Python 3.11 or newer; this is %d.%d. Call it with a newer one: "
            "python3.11 run.py ..." % sys.version_info[:2]
        )
    job = [argument for argument in sys.argv[1:] if argument != "--cpu"]
    if not job or job[0] not in JOBS:
        print(__doc__)
        return 2
    problem = set_up("--cpu" in sys.argv) or missing_library()
    if problem:
        return complain(problem)
    environment = job_environment(job[0])
    for command in JOBS[job[0]]:
        code = wait_for(subprocess.Popen(command + job[1:], cwd=ROOT, env=environment))
        if code:
            return code
    return 0


def wait_for(job: subprocess.Popen) -> int:
    """The job's exit code; Ctrl-C reaches the job as well, which saves before it ends."""
    while True:
        try:
            code = job.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def set_up(cpu: bool) -> str:
    """Create or complete the environment; returns the problem, or nothing."""
    wanted, cpu = fingerprint(), cpu or CPU.exists()
    made_from, *packages = STAMP.read_text().splitlines() if STAMP.exists() else [""]
    if made_from == wanted and set(packages) <= set(installed()) and works():
        return ""
    if not works():
        shutil.rmtree(VENV, ignore_errors=True)
        print("run.py: making .venv", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, env=clean()
        )
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            if "ensurepip" in made.stdout + made.stderr:
                return (
                    "This Python cannot make environments (ensurepip is missing). Install it, on "
                    "Debian and Ubuntu: sudo apt install python3-venv. Then call run.py again."
                )
            return "Making .venv failed: " + last_line(made.stdout + made.stderr)
    requirements = requirements_for_cpu() if cpu else ROOT / "requirements.txt"
    size = "without CUDA" if requirements == CPU else "some 6 GB with CUDA"
    print("run.py: installing requirements.txt (%s)" % size, flush=True)
    problem = install(requirements)
    if problem:
        return (
            "Installing requirements.txt failed (%s). It needs the network and 10 GB of free disk; "
            "call run.py again, it continues from here." % problem
        )
    STAMP.write_text("\n".join([wanted, *installed()]))
    return ""


def installed() -> list:
    """Names and versions of the packages in the environment."""
    return sorted(path.name for path in VENV.glob("lib/python*/site-packages/*.dist-info"))


def requirements_for_cpu() -> Path:
    """What to install beside torch's CPU build, which is installed here: PyPI has none for Linux.

    The pinned version is asked for. Its hash is not in requirements.txt but in the index that is
    read over TLS, and pip compares that. Where the index cannot be reached, PyPI's build is taken.
    """
    CPU.touch()
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    if sys.platform != "linux":  # no build for another system has CUDA
        return ROOT / "requirements.txt"
    versions = re.findall(r"^(torch|torchvision)==([^\s;\\]+)", pinned, re.MULTILINE)
    here = "import torch, torchvision as v; print(torch.__version__, v.__version__)"
    found = subprocess.run([str(PYTHON), "-c", here], env=clean(), capture_output=True, text=True)
    if [version.partition("+")[0] for version in found.stdout.split()] != [v for _, v in versions]:
        builds = ["%s==%s+cpu" % pair for pair in versions]
        once = ["-qq", "--no-deps", "--retries", "1", "--timeout", "20", "--index-url", CPU_INDEX]
        problem = failure([*pip_install(), *once, *builds])
        if problem:
            print("run.py: %s gave no torch (%s): PyPI's is taken" % (CPU_INDEX, problem))
            return ROOT / "requirements.txt"
    CPU.write_text(without_cuda(pinned), "utf-8")
    return CPU


def without_cuda(requirements: str) -> str:
    """The requirements but for torch and what only torch with CUDA needs."""
    packages = re.split(r"^(?=\w)", requirements, flags=re.MULTILINE)
    cuda = re.compile(r"(torch|torchvision|triton|cuda-[\w-]+|nvidia-(?!ml-py)[\w-]+)==")
    return "".join(package for package in packages if not cuda.match(package))


def pip_install() -> list:
    """The command that installs what is appended to it."""
    quiet = ["--quiet", "--disable-pip-version-check"]
    return [str(PYTHON), "-m", "pip", "install", "--no-user", *quiet]


def install(requirements: Path) -> str:
    """Install with uv (seconds), or with pip (minutes) where uv cannot be had; "" or the error.

    Both compare each download with its hash in the requirements; the repository itself has none.
    """
    pip = pip_install()
    parts = [["--no-deps", "-r", str(requirements)], ["--no-deps", "-e", str(ROOT)]]
    if not failure([*pip, UV]):
        uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
        if not any(failure(uv + part) for part in parts):
            return ""
        print("run.py: uv failed, trying pip", flush=True)
    return next((problem for problem in (failure(pip + part) for part in parts) if problem), "")


def failure(command: list) -> str:
    """Run a program, its errors shown; its last line where it failed, else ""."""
    done = subprocess.run(command, cwd=ROOT, env=clean(), stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    return last_line(done.stderr) if done.returncode else ""


def missing_library() -> str:
    """What to install where cv2 lacks a library of the system, as slim images do; else ""."""
    code = "import importlib.util as u; u.find_spec('cv2') and __import__('cv2')"
    probe = subprocess.run(
        [str(PYTHON), "-c", code], env=clean(), stderr=subprocess.PIPE, text=True
    )
    if ".so" not in last_line(probe.stderr):
        return ""
    return "%s. Install it and what else OpenCV needs. %s" % (last_line(probe.stderr), LIBRARIES)


def works() -> bool:
    """Whether the environment has a pip that starts: one moved elsewhere has not."""
    try:
        probe = subprocess.run(
            [str(VENV / "bin" / "pip"), "--version"], capture_output=True, timeout=60, env=clean()
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def fingerprint() -> str:
    """What the environment was made from: the requirements, the package's own metadata, Python."""
    digest = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def job_environment(job: str) -> dict:
    """The caller's environment with .venv first on PATH."""
    environment = dict(clean(), VIRTUAL_ENV=str(VENV))
    environment["PATH"] = str(VENV / "bin") + os.pathsep + environment.get("PATH", "")
    # Compiled once, torch and DVC load in half the time, and the tests start them often.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if job != "check":
        environment.pop("PILLSNAP_DATA_ROOT", None)  # neither demo nor tests touch real data
    return environment


def clean() -> dict:
    """The caller's environment without NOT_OURS, and with a home where the user has none."""
    environment = {name: os.environ[name] for name in os.environ if name not in NOT_OURS}
    try:
        Path.home()
    except RuntimeError:  # no HOME and no entry in /etc/passwd, as in containers
        environment["HOME"] = str(VENV / "home")
    return environment


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def complain(problem: str) -> int:
    """One line, exit code 1."""
    print("run.py: " + problem, file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
