"""The stage as a user runs it: files on success, one screen and exit code 1 on a refusal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from make.aihub_tree import write_tree
from pillsnap.aihub import fingerprint
from pillsnap.dataset import manifest

REPOSITORY = Path(__file__).parents[2]
CODES = [f"K-{number:06d}" for number in range(1, 27)]
COMBOS = [tuple(CODES[at : at + 3 * step + 1 : step]) for step in (1, 2, 3) for at in range(17)]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with params.yaml and a tree for the demo's scale under data/demo."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    root = tmp_path / "data/demo"
    write_tree(root, CODES, photos_per_group=3, combos=COMBOS, val_codes=["K-000077"])
    fingerprint.write(tmp_path / fingerprint.path_of("demo"), "demo", fingerprint.take(root))
    return tmp_path


def run(workplace: Path) -> subprocess.CompletedProcess[str]:
    hidden = {"PILLSNAP_DATA_ROOT", "DVC_ROOT"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(
        [sys.executable, REPOSITORY / "src/build_manifest.py"], cwd=workplace, check=False,
        env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_it_writes_what_the_contract_names(workplace: Path) -> None:
    done = run(workplace)
    assert done.returncode == 0, done.stderr
    artifacts = workplace / "artifacts/demo"
    tables = [manifest.read(artifacts / f"manifest_{name}.csv") for name in manifest.SPLITS]
    assert len(tables[0]) + len(tables[1]) == 1500
    assert [list(table.columns) for table in tables] == [list(manifest.COLUMNS)] * 3
    assert len(manifest.read_classes(artifacts / "classes.csv")) == 24
    assert (artifacts / "sampling.json").is_file()
    assert cv2.imread(str(artifacts / "sampling.png")) is not None
