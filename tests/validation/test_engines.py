"""validate on clusters and in parts: lost workers and Ctrl-C change no byte."""

import shutil

import pytest

from make.engine_runs import cluster, interrupt, save, start, steps
from make.photo_set import make

PHOTOS = 1500  # six tasks over a network


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A set of photos, the job of reading them with two processes, and the outs of that."""
    photos = make(tmp_path_factory.mktemp("engines"), many=PHOTOS)
    photos.run(num_workers=2)
    outs = photos.outs()
    shutil.rmtree(photos.places.work_dir)
    job = save(photos.base / "job.pickle", photos.places, photos.with_(num_workers=2))
    return photos, job, outs


@pytest.fixture
def again(local):
    """The same without outs and work store."""
    yield local
    for folder in (local[0].places.data_dir, local[0].places.work_dir):
        shutil.rmtree(folder, ignore_errors=True)  # a test that skips made none


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_cluster_gives_the_same_bytes_though_interrupted_and_a_worker_is_lost(again, name):
    pytest.importorskip({"dask": "distributed"}.get(name, name), reason=f"pillsnap[{name}]")
    photos, job, outs = again
    with cluster(name) as (url, ask):
        with start(job, url) as run:
            reached = steps(run, 256)[-1]
            interrupt(run)
        ask("idle")
        with start(job, url) as run:
            first = steps(run, reached + 256)[0]
            ask("lose")
            assert steps(run)[-1] == PHOTOS + 28
    assert first >= reached
    assert run.returncode == 0
    assert photos.outs() == outs


@pytest.mark.slow
def test_parts_give_the_same_bytes_though_interrupted(again):
    photos, job, outs = again
    with start(job, "2/3") as run:
        reached = steps(run, 80)[-1]
        interrupt(run)
    for text in ("1/3", "2/3", "3/3"):
        with start(job, text) as run:
            assert steps(run)[0] >= reached * (text == "2/3")
        assert run.returncode == 0
    with start(job, "local") as run:
        assert steps(run)[0] == PHOTOS + 28
    assert photos.outs() == outs
