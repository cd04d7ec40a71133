"""The monitor during real trainings on a tiny synthetic set: it follows and changes nothing."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.sync.client import ClientConnection

from make import tiny_project
from make.browser import Tab
from make.monitor_server import deaf_viewer
from pillsnap import params
from pillsnap.aihub import fingerprint
from pillsnap.demo.tree import draw_tree
from pillsnap.monitor import daemon
from pillsnap.stage.hardware import GpuReader
from pillsnap.training import checkpoints

pytestmark = pytest.mark.slow

EPOCHS = 24
TRAININGS = ("train_detection", "train_classification")
VIEWERS = 199  # and one that never reads
CLASSIFIER = "artifacts/demo/checkpoints/demo_classification_best.pt"
LOOK = """Object.fromEntries(["train_detection", "train_classification", "machine"].map(
    (id) => [id, document.getElementById(id).innerText]))"""
EPOCH = r"""Number(document.getElementById(%r).innerText.match(/에폭 (\d+)\/%d/)?.[1] ?? 0)"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a tiny drawn set."""
    folder = tiny_project.copy_to(tmp_path_factory.mktemp("trainings") / "project")
    train = {"epochs": EPOCHS, "num_workers": 0}
    tiny_project.set_params(folder, {"train": train, "scales.demo": {"repeats": 6}})
    loaded = params.load(folder / "params.yaml")
    tree = folder / "data/demo"
    draw_tree(tree, loaded.demo, loaded.seed, 1, lambda _done, _total: None)
    fingerprint.write(folder / fingerprint.path_of("demo"), "demo", fingerprint.take(tree))
    return folder


@contextmanager
def started(project: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the project, ended with the block."""
    with (project / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=project,
            env=tiny_project.environment(project),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def monitored(project: Path, run_dir: Path) -> Iterator[daemon.Daemon]:
    """The monitor as `pillsnap monitor --daemon` starts it, on a free port."""
    yield daemon.start(project / "artifacts/demo", "127.0.0.1", 0, None, run_dir)
    daemon.stop(run_dir)


@dataclass
class Seen:
    """What the page showed during the trainings: (detection epoch, classification epoch, texts)."""

    epochs: list[tuple[int, int]] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    url: str = ""

    def look(self, tab: Tab) -> None:
        """Note the epochs, where they have moved."""
        shown = [int(tab.value(EPOCH % (name, EPOCHS))) for name in TRAININGS]
        if not self.epochs or self.epochs[-1] != (shown[0], shown[1]):
            self.epochs.append((shown[0], shown[1]))


@pytest.fixture(scope="module")
def seen(
    project: Path, browser: ClientConnection, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """A Korean browser looks on while DVC runs both trainings."""
    found, tab = Seen(), Tab(browser)
    with monitored(project, tmp_path_factory.mktemp("run")) as monitor:
        found.url = monitor.url
        tab.open(monitor.url, locale="ko-KR")
        with started(project, "dvc", "repro", *TRAININGS) as repro:
            while repro.poll() is None:
                found.look(tab)
                with suppress(subprocess.TimeoutExpired):
                    repro.wait(0.2)
        assert repro.returncode == 0, (project / "output.txt").read_text()
        assert tab.comes_true(f"{EPOCH % (TRAININGS[1], EPOCHS)} === {EPOCHS}")
        found.look(tab)
        found.last = tab.value(LOOK)
    found.requests, found.complaints = list(tab.requests), list(tab.complaints)
    tab.close()
    return found


@pytest.mark.parametrize("training", [0, 1], ids=TRAININGS)
def test_the_epochs_of_a_real_training_advance_on_the_page(seen: Seen, training: int) -> None:
    shown = [epochs[training] for epochs in seen.epochs]
    assert shown == sorted(shown)
    assert len({epoch for epoch in shown if epoch > 0}) >= 3


def test_real_stages_are_shown_separately_without_a_reload_an_error_or_another_host(
    seen: Seen,
) -> None:
    assert any(epochs[0] == EPOCHS and 0 < epochs[1] < EPOCHS for epochs in seen.epochs)
    assert "mAP50-95" in seen.last[TRAININGS[0]]
    assert "top-5" in seen.last[TRAININGS[1]]
    assert ("NVIDIA GPU가 없어" in seen.last["machine"]) is not bool(GpuReader().read())
    assert sum(url.endswith("/main.js") for url in seen.requests) == 1
    assert seen.complaints == []
    ours = (seen.url, seen.url.replace("http:", "ws:"))
    assert [url for url in seen.requests if not url.startswith(ours)] == []


def classifier_weights(project: Path) -> str:
    weights, _ = checkpoints.load_published(project / CLASSIFIER)
    return checkpoints.weights_hash(weights)


def forget_training(project: Path) -> None:
    shutil.rmtree(project / ".checkpoints/train_classification", ignore_errors=True)
    (project / CLASSIFIER).unlink(missing_ok=True)
    (project / "artifacts/demo/live/events.jsonl").unlink(missing_ok=True)


async def until_epoch(port: int, epoch: int) -> None:
    """A viewer that watches until the classification has come so far."""
    async with connect(
        f"ws://127.0.0.1:{port}/ws", max_size=None, compression=None, ping_interval=None
    ) as websocket:
        async for message in websocket:
            stages = orjson.loads(message)["set"].get("stages", {})
            if (stages.get(TRAININGS[1], {}).get("epochs_done") or 0) >= epoch:
                return


async def crowd(port: int, epoch: int) -> None:
    await asyncio.gather(*(until_epoch(port, epoch) for _ in range(VIEWERS)))


def test_a_crowd_and_a_monitor_killed_in_the_middle_change_no_weight(
    project: Path, tmp_path: Path
) -> None:
    stage = ("python", "src/train_classification.py")
    tiny_project.run(project, "dvc", "repro", "validate")
    forget_training(project)
    tiny_project.run(project, *stage)
    undisturbed = classifier_weights(project)
    forget_training(project)
    with monitored(project, tmp_path) as monitor:
        stalled = deaf_viewer(monitor.port)
        with started(project, *stage) as training:
            asyncio.run(asyncio.wait_for(crowd(monitor.port, epoch=2), 120))
            assert training.poll() is None
            os.kill(monitor.pid, signal.SIGKILL)
            assert training.wait(120) == 0
        stalled.close()
    assert classifier_weights(project) == undisturbed
