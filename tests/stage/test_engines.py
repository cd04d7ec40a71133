"""Engines: what a cluster answers and raises, by an executor of threads in its place."""

import os
import tomllib
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from make.import_graph import ROOT
from make.photo_set import make
from pillsnap.errors import DataError, MachineError
from pillsnap.stage import engines
from pillsnap.stage.engines import Engine
from pillsnap.validation import prepare

URL = "dask://127.0.0.1:1"
KILLED = type("KilledWorker", (Exception,), {"__module__": "distributed.scheduler"})


@pytest.fixture
def threads(monkeypatch):
    """Three threads in place of Dask."""

    @contextmanager
    def cluster(url):
        with ThreadPoolExecutor(3) as executor:
            yield executor.submit, 3

    monkeypatch.setattr(engines, "_dask", cluster)


def raised(error, root):
    def function(_item):
        raise error

    with Engine(URL).workers(root, "", "") as spread, pytest.raises(Exception) as found:
        list(spread(function, [1]))
    return found.value


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (KILLED("chunk", "tcp://h:1"), "lost each worker that a task was given to .*tcp://h:1"),
        (CancelledError(), "does not answer or has no workers .CancelledError"),
        (ConnectionResetError("by\npeer"), "does not answer or has no workers .by peer"),
        (ModuleNotFoundError("no", name="cv2"), f"a worker of {URL} has no module cv2"),
    ],
)
def test_faults_of_a_cluster_are_refused(tmp_path, threads, error, fact):
    (tmp_path / "photo.png").touch()
    refused = raised(error, tmp_path)
    assert isinstance(refused, MachineError)
    assert refused.cure.endswith("then run dvc repro: it resumes.")
    with pytest.raises(MachineError, match=fact):
        raise refused


def test_errors_of_the_work_are_raised_unchanged_and_as_they_were_before_ray_wrapped_them(
    tmp_path, threads
):
    (tmp_path / "photo.png").touch()
    error, wrapped = DataError("fact", "cure"), ValueError("RayTaskError")
    wrapped.cause = error
    assert raised(error, tmp_path) is raised(wrapped, tmp_path) is error
    assert isinstance(raised(KeyError(1), tmp_path), KeyError)


def test_a_host_without_the_data_root_is_refused_until_it_is_mounted(tmp_path, threads):
    with Engine(URL).workers(tmp_path, "", "") as spread:
        with pytest.raises(
            MachineError, match=rf"{os.uname().nodename} has no files in .*{tmp_path}"
        ):
            list(spread(abs, [1]))
        (tmp_path / "photo.png").touch()
        assert list(spread(abs, [1, -2])) == [1, 2]


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_package_that_is_missing_names_an_extra_that_exists(tmp_path, monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, {"dask": "distributed"}.get(name, name), None)
    with (
        pytest.raises(MachineError, match=f"{name} is not installed") as refused,
        Engine(f"{name}://127.0.0.1:1").workers(tmp_path, "", ""),
    ):
        pass
    assert f"pip install 'pillsnap[{name}]'" in refused.value.cure
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert name in extras["optional-dependencies"]


def test_a_run_that_finds_no_cluster_resumes_on_this_machine(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="pillsnap[dask]")
    monkeypatch.setattr(engines, "CONNECT_S", 0.3)
    photos = make(tmp_path, many=120)
    with pytest.raises(MachineError, match=f"{URL} does not answer") as refused:
        photos.run(engine=URL)
    assert "set validate.engine: local; then run dvc repro" in refused.value.cure
    photos.run(engine="local")


def test_tasks_are_larger_over_a_network_and_the_bytes_the_same(tmp_path, threads, monkeypatch):
    sizes = []

    def counted(recipe, version, chunk, _inner=prepare._prepare_chunk):
        sizes.append(len(chunk))
        return _inner(recipe, version, chunk)

    monkeypatch.setattr(prepare, "_prepare_chunk", counted)
    photos = make(tmp_path, many=300)
    photos.run(engine=URL)
    outs, far = photos.outs(), list(sizes)
    (tmp_path / "work").rename(tmp_path / "far")
    sizes.clear()
    photos.run()
    assert sorted(far) == [328 - 256, 256]
    assert max(sizes) == 8
    assert photos.outs() == outs


def test_a_worker_of_another_version_is_refused(tmp_path, threads, monkeypatch):
    photos = make(tmp_path, many=120)
    mine = prepare._prepare_chunk
    monkeypatch.setattr(
        prepare, "_prepare_chunk", lambda recipe, _, chunk: mine(recipe, "x", chunk)
    )
    with pytest.raises(MachineError, match="another version of pillsnap, OpenCV or simplejpeg"):
        photos.run(engine=URL)
    monkeypatch.undo()
    photos.run()
