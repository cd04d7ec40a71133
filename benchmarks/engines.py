"""validate by each engine on noisy photos of 976 x 1280 px: interrupted, a worker lost, same bytes.

    python benchmarks/engines.py --frames 3000 --engines local 1 3 dask ray

Every engine has two workers on this machine; a number is that many parts, one after the other. Each
run is stopped by Ctrl-C after a fifth of the photos, checked for processes and tasks that are left,
and resumed. Dask then loses a worker process, Ray a node, halfway. The seconds are those of the
resumed run, which reads the other photos, joins parts and writes the outputs. All workers share
this machine: this compares bytes and overhead, not the speed of several hosts.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

from make.engine_runs import cluster, interrupt, save, start, steps
from validate import draw_all, project


@contextmanager
def urls(engine: str) -> Iterator[tuple[list[str], object]]:
    """What to start one after the other for an engine, and what asks its cluster."""
    if engine in ("dask", "ray"):
        with cluster(engine) as (url, ask):
            yield [url], ask
    elif engine == "local":
        yield ["local"], None
    else:
        parts = [f"{number}/{engine}" for number in range(1, int(engine) + 1)]
        yield [*parts, "local"], None


def hash_of(folder: Path) -> str:
    """Of all files and their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def measure(engine: str, job: Path, frames: int) -> str:
    """A row of the table: photos kept by Ctrl-C, seconds and photos a second after it."""
    with urls(engine) as (runs, ask):
        with start(job, runs[0]) as run:
            most = frames // 5 // (int(engine) if engine.isdigit() else 1)
            reached = steps(run, most)[-1]
            interrupt(run)
        if ask:
            ask("idle")
        begun_s = time.perf_counter()
        done = 0
        for number, url in enumerate(runs):
            with start(job, url) as run:
                found = steps(run, frames // 2)
                if number == 0:
                    done = found[0]
                if ask:
                    ask("lose")
                steps(run)
            assert run.returncode == 0, url
        seconds = time.perf_counter() - begun_s
    assert done >= reached, (done, reached)
    return (
        f"| {engine} | {done} | {frames - done} | {seconds:.1f} | {(frames - done) / seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--engines", nargs="*", default=["local", "1", "3", "dask", "ray"])
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, base = Path(folder) / "root", Path(folder)
        draw_all(root)
        places, own = project(root, base, wanted.frames, 2)
        job = save(base / "job.pickle", places, own)
        print("| engine | kept by Ctrl-C | then read | s | photos/s | outs |")
        print("|---|---|---|---|---|---|")
        for engine in wanted.engines:
            row = measure(engine, job, wanted.frames)
            print(f"{row} {hash_of(places.data_dir)} |", flush=True)
            shutil.rmtree(places.data_dir)
            shutil.rmtree(places.work_dir)


if __name__ == "__main__":
    main()
