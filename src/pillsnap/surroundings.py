"""What a command runs in: its version, encodings, a user without a home, system libraries."""

import os
import pwd
import re
import sys
from io import TextIOWrapper
from pathlib import Path

from pillsnap.errors import MachineError

LIBRARIES = (
    "Install it and what else OpenCV needs. Debian, Ubuntu: sudo apt install libgl1 libglib2.0-0; "
    "Fedora: sudo dnf install mesa-libGL glib2"
)


def prepare(arguments: list[str]) -> None:
    """Set up stdout and the environment of the programs that a command starts."""
    if isinstance(sys.stdout, TextIOWrapper):
        # JSON and CSV are for programs: UTF-8 whatever the locale; for people what it can show
        for_programs = {"--json", "--csv"} & set(arguments)
        encoding = "utf-8" if for_programs else sys.stdout.encoding
        sys.stdout.reconfigure(encoding=encoding, errors="replace")
    # Containers run under any uid: DVC's experiments need a name and a home folder all the same.
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(Path(".checkpoints/home").resolve())


def version() -> str:
    """The installed version, with the git revision where the package runs in a checkout."""
    from importlib.metadata import version as installed

    from pillsnap.operation.git_state import git

    checkout = Path(__file__).parents[2]
    revision = git(checkout, "describe", "--always", "--dirty", "--exclude=*").out
    known = revision and (checkout / ".git").exists()
    return f"{installed('pillsnap')}{f' (git {revision})' if known else ''}"


def missing_library(error: ImportError) -> MachineError | None:
    """The refusal for a package that is not installed, or a shared library that the system lacks
    (as slim images do) or cannot load."""
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pillsnap"):
        return MachineError(
            f"This command needs {error.name}, which is not installed.",
            "pip install 'pillsnap[train]'\n  -> or, in a clone: python3 run.py check",
        )
    if not re.search(r"\blib[\w.+-]+\.so[.\d]*: ", str(error)):
        return None
    return MachineError(f"A library of the system is missing: {error}.", LIBRARIES)
