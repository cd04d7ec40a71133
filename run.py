#!/usr/bin/env python3
"""Set PillSnap up and run a job: python3 run.py demo | test [pytest arguments] | check

Standard library only, and readable by old Pythons, so that they too get a helpful line. Makes
.venv, installs requirements.txt into it (again only when that changes), then runs the job with
the environment first on PATH and ends with the job's exit code.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.sha256"
UV = "uv==0.13.9"
OLDEST = (3, 11)

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
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        print(__doc__)
        return 2
    problem = set_up()
    if problem:
        return complain(problem)
    environment = job_environment(sys.argv[1])
    for command in JOBS[sys.argv[1]]:
        code = wait_for(subprocess.Popen(command + sys.argv[2:], cwd=ROOT, env=environment))
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


def set_up() -> str:
    """Create or complete the environment; returns the problem, or nothing."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and works():
        return ""
    if not works():
        shutil.rmtree(VENV, ignore_errors=True)
        print("run.py: making .venv", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True
        )
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            if "ensurepip" in made.stdout + made.stderr:
                return (
                    "This Python cannot make environments (ensurepip is missing). Install it, on "
                    "Debian and Ubuntu: sudo apt install python3-venv. Then call run.py again."
                )
            return "Making .venv failed: " + last_line(made.stdout + made.stderr)
    print("run.py: installing requirements.txt (some 6 GB with CUDA)", flush=True)
    if not install():
        return (
            "Installing requirements.txt failed (see above). Check the network and the free disk "
            "(10 GB), then call run.py again: it resumes here."
        )
    STAMP.write_text(wanted)
    return ""


def install() -> bool:
    """Install with uv (seconds), or with pip (minutes) where uv cannot be had."""
    quiet = ["--quiet", "--disable-pip-version-check"]
    pip = [str(PYTHON), "-m", "pip", "install", *quiet]
    requirements = ["-r", str(ROOT / "requirements.txt")]
    if subprocess.call([*pip, UV], cwd=ROOT) == 0:
        uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
        if subprocess.call(uv + requirements, cwd=ROOT) == 0:
            return True
        print("run.py: uv failed, trying pip", flush=True)
    return subprocess.call(pip + requirements, cwd=ROOT) == 0


def works() -> bool:
    """Whether the environment has a pip that starts: one moved elsewhere has not."""
    try:
        probe = subprocess.run(
            [str(VENV / "bin" / "pip"), "--version"], capture_output=True, timeout=60
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
    environment = dict(os.environ, VIRTUAL_ENV=str(VENV))
    environment["PATH"] = str(VENV / "bin") + os.pathsep + environment.get("PATH", "")
    environment.pop("PYTHONHOME", None)
    # Compiled once, torch and DVC load in half the time, and the tests start them often.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if job != "check":
        environment.pop("PILLSNAP_DATA_ROOT", None)  # neither demo nor tests touch real data
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
