"""The monitor during a real training on a tiny synthetic set: it follows and changes nothing."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import connect

from make import tiny_project
from make.monitor_server import deaf_viewer
from pillsnap import params
from pillsnap.demo.tree import draw_tree
from pillsnap.formats import fingerprint
from pillsnap.monitor import daemon
from pillsnap.stage.hardware import GpuReader
from pillsnap.training import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = 16
VIEWERS = 199  # and one that never reads
STAGE = "train_classification"
COMMAND = ("python", f"src/{STAGE}.py")
CLASSIFIER = "artifacts/demo/checkpoints/demo_classification_best.pt"
EPOCH = f"document.getElementById('{STAGE}').innerText.match(/에폭 (\\d+)\\/{EPOCHS}/)?.[1]"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The repository with a tiny drawn set, validated."""
    folder = tiny_project.copy_to(tmp_path / "project")
    train = {"epochs": EPOCHS, "num_workers": 0}
    tiny_project.set_params(folder, {"train": train, "scales.demo": {"repeats": 6}})
    loaded = params.load(folder / "params.yaml")
    tree = folder / "data/demo"
    draw_tree(tree, loaded.demo, loaded.seed, 1, lambda _done, _total: None)
    fingerprint.write(folder / fingerprint.path_of("demo"), "demo", fingerprint.take(tree))
    tiny_project.run(folder, "dvc", "repro", "validate")
    return folder


def forget_training(project: Path) -> None:
    shutil.rmtree(project / f".checkpoints/{STAGE}")
    (project / CLASSIFIER).unlink()
    (project / "artifacts/demo/live/events.jsonl").unlink()


def weights_of(project: Path) -> str:
    return checkpoints.weights_hash(checkpoints.load_published(project / CLASSIFIER)[0])


async def until_epoch(port: int, epoch: int) -> None:
    address = f"ws://127.0.0.1:{port}/ws"
    async with connect(
        address, max_size=None, compression=None, ping_interval=None, open_timeout=60
    ) as websocket:
        async for message in websocket:
            stages = orjson.loads(message)["set"].get("stages", {})
            if (stages.get(STAGE, {}).get("epochs_done") or 0) >= epoch:
                return


async def crowd(port: int, epoch: int) -> None:
    viewers = (until_epoch(port, epoch) for _ in range(VIEWERS))
    await asyncio.wait_for(asyncio.gather(*viewers), 120)


def test_page_crowd_and_a_killed_monitor_change_no_weight(project, tab, tmp_path) -> None:
    tiny_project.run(project, *COMMAND)
    undisturbed = weights_of(project)
    forget_training(project)
    monitor = daemon.start(project / "artifacts/demo", "127.0.0.1", 0, tmp_path / "run")
    tab.open(monitor.url, locale="ko-KR")
    environment = tiny_project.environment(project)
    with (
        deaf_viewer(monitor.port),
        (project / "output.txt").open("wb") as output,
        subprocess.Popen(COMMAND, cwd=project, env=environment, stdout=output) as training,
    ):
        try:
            asyncio.run(crowd(monitor.port, epoch=2))
            assert tab.shows(f"#{STAGE}", "top-5")
            first = int(tab.value(EPOCH))
            assert tab.comes_true(f"{EPOCH} > {first}")
            text = tab.value("document.getElementById('machine').innerText")
            assert ("NVIDIA GPU가 없어" in text) is not bool(GpuReader().read())
            assert tab.complaints == []
            assert training.poll() is None
        finally:
            os.kill(monitor.pid, signal.SIGKILL)
        assert training.wait(120) == 0
    assert weights_of(project) == undisturbed
