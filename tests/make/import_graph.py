"""Which files of the package a script imports, directly or through others (lazy imports too)."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"


@cache
def imported(path: Path) -> frozenset[Path]:
    """Files of the package that `path` imports itself."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found.update(file for name in names if (file := _file_of(name)))
    return frozenset(found - {path})  # a package's own name comes with its modules


def closure(path: Path) -> set[Path]:
    """Files of the package that running `path` needs, `path` included."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting.extend(imported(file))
    return seen


def _file_of(name: str) -> Path | None:
    if name.split(".")[0] != "pillsnap" or name == "pillsnap":
        return None
    base = SRC.joinpath(*name.split("."))
    if base.with_suffix(".py").is_file():
        return base.with_suffix(".py")
    package = base / "__init__.py"
    return package if package.is_file() else None
