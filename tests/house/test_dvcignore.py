"""A room that is a dep stays unchanged for DVC whatever compilers and editors leave in it."""

import compileall
import shutil

from dvc.repo import Repo

from make.import_graph import ROOT, SRC

STAGE = "stages:\n  one:\n    cmd: 'true'\n    deps: [src/pillsnap/stage]\n"
LEFT = [
    ".run.py.swp", ".run.py.swo", "run.py~", "#run.py#", "4913", ".DS_Store", "run.pyo",
    ".mypy_cache/x.json", ".ruff_cache/x", ".pytest_cache/x", ".idea/x.xml", ".vscode/x.json",
]  # fmt: skip


def changed(folder):
    """The number of stages that `dvc status` names."""
    with Repo(str(folder)) as repo:
        return len(repo.status())


def test_what_compilers_and_editors_leave_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    room = tmp_path / "src/pillsnap/stage"
    shutil.copytree(SRC / "pillsnap/stage", room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    (tmp_path / "dvc.yaml").write_text(STAGE)
    with Repo.init(no_scm=True) as repo:
        repo.commit(force=True)
    compileall.compile_dir(room, quiet=2)
    assert list(room.rglob("*.pyc"))
    for name in LEFT:
        (room / name).parent.mkdir(exist_ok=True)
        (room / name).write_text("left behind")
    (room / ".#run.py").symlink_to("user@host.4711:1700000000")  # Emacs' lock leads nowhere
    assert changed(tmp_path) == 0
    (room / "run.py").write_text("edited")
    assert changed(tmp_path) == 1
