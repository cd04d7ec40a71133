"""The list of modules in docs/architecture.md, made of the modules' first docstrings.

PYTHONPATH=tests python -m make.module_table     # writes it anew
"""

import ast
import re

from make.import_graph import ROOT, SRC

PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = SRC / "pillsnap"
MARKED = re.compile(r"(?<=<!-- modules -->\n).*?(?=<!-- /modules -->)", re.DOTALL)


def rendered() -> str:
    """The ground first, then every room with its modules, as Markdown tables."""
    rooms = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    return "".join(_table(folder) for folder in (PACKAGE, *rooms))


def _table(folder) -> str:
    names = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
    title = "ground" if folder == PACKAGE else folder.name
    about = _sentence(folder / "__init__.py")
    rows = "".join(f"| `{path.stem}` | {_sentence(path)} |\n" for path in names)
    head = f"### {title}\n\n{about}\n\n" if about else f"### {title}\n\n"
    return f"{head}| module | is |\n|---|---|\n{rows}\n"


def _sentence(path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda _: rendered(), page), encoding="utf-8")


if __name__ == "__main__":
    main()
