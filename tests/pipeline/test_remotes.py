"""DVC remotes: a clone without the photos is up to date after a pull, and trains from the cache."""

import os
import re
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from make import tiny_project
from make.import_graph import ROOT
from make.tiny_project import run, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCALING = (ROOT / "docs/scaling.md").read_text("utf-8")
PHOTOS = ("data/demo/train", "data/demo/val")
KEYS = {
    "AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project.demo_run(tmp_path_factory, "origin", "pills")


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """The address of an S3 server on this machine that has a bucket named pills."""
    pytest.importorskip("moto.server")
    pytest.importorskip("dvc_s3")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            make_bucket(f"{url}/pills", server)
            yield url
        finally:
            server.terminate()
            server.wait()


def make_bucket(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
            return
        except urllib.error.URLError:
            assert server.poll() is None and time.monotonic() < deadline, "no S3 server"
            time.sleep(0.05)


def clone_by_remote(origin: Path, clone: Path, url: str, endpoint: str = "", **keys: str) -> Path:
    """A fresh clone by a git server of what one user pushes to a remote, `keys` in the environment;
    the clone has them in settings of its own."""
    run(origin, "dvc", "remote", "add", "-f", "-d", "shelf", url)
    if endpoint:
        run(origin, "dvc", "remote", "modify", "shelf", "endpointurl", endpoint)
    assert " pushed" in run(origin, "dvc", "push", **keys)
    run(origin, "git", "commit", "-qam", "a remote")
    run(origin, "git", "clone", "-q", "--bare", str(origin), str(clone.with_name("server")))
    run(origin, "git", "clone", "-q", str(clone.with_name("server")), str(clone))
    for name, value in keys.items():
        key = name.removeprefix("AWS_").removeprefix("DEFAULT_").lower()
        run(clone, "dvc", "remote", "modify", "--local", "shelf", key, value)
    return clone


def documented(what: str, **values: str) -> list[list[str]]:
    """The commands of a row in "DVC on several hosts", by its first words."""
    row = next(line for line in SCALING.splitlines() if line.startswith(f"| {what}"))
    lines = re.findall("`(dvc [^`]+)`", row)
    return [[values.get(word, word) for word in line.split()] for line in lines]


def test_a_clone_without_the_photos_trains_and_only_what_needs_them_is_refused(origin, tmp_path):
    clone = clone_by_remote(origin, tmp_path / "clone", str(tmp_path / "shelf"))
    shared = tmp_path / "shared"
    for command in documented("one cache", **{"/shared/cache": str(shared)}):
        run(clone, *command)
    assert " fetched" in run(clone, "dvc", "pull")
    assert not [name for name in PHOTOS if (clone / name).exists()]
    assert (shared / "files").stat().st_mode & stat.S_IWGRP
    crops = clone / "data/demo/crops/train.arrow"
    assert crops.is_symlink() or "reflink" in run(clone, "dvc", "doctor")
    assert stages_run(run(clone, "dvc", "repro")) == []
    metrics = "artifacts/demo/metrics.json"
    before = (clone / metrics).read_bytes()
    changes = {"train_detection": {"hue": 0.02}, "train_classification": {"blur": 0.3}}
    tiny_project.set_params(clone, changes)
    said = run(clone, "dvc", "exp", "run")
    assert stages_run(said) == ["train_detection", "train_classification", "evaluate"]
    assert (clone / metrics).read_bytes() != before
    [name] = re.findall(r"Ran experiment\(s\): (\S+)", said)
    [push, pull] = documented("experiments of another host", NAME=name)
    run(clone, *push)
    run(origin, "git", "remote", "add", "origin", str(tmp_path / "server"))
    run(origin, *pull)
    run(origin, "dvc", "exp", "apply", name)
    assert (origin / metrics).read_bytes() == (clone / metrics).read_bytes()
    assert "up to date" in run(origin, "dvc", "status")
    tiny_project.set_params(clone, {"scales.demo": {"samples": 110}})
    said = run(clone, "dvc", "repro", code=255)
    assert stages_run(said) == ["build_manifest"]
    assert "Traceback" not in said
    assert "run.py demo" in said


def test_a_bucket_serves_as_well(origin, tmp_path, endpoint):
    clone = clone_by_remote(origin, tmp_path / "clone", "s3://pills/dvc", endpoint, **KEYS)
    assert " fetched" in run(clone, "dvc", "pull")
    assert not [name for name in PHOTOS if (clone / name).exists()]
    assert stages_run(run(clone, "dvc", "repro")) == []
    assert "in sync" in run(clone, "dvc", "status", "--cloud")
    assert not any(name in os.environ for name in KEYS)
