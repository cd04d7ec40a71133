"""Failures and their diagnosis: provoked for real where that can be, recorded texts elsewhere."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from pillsnap import params
from pillsnap.errors import UserError
from pillsnap.operation import diagnosis, unfinished
from pillsnap.operation.diagnosis import TABLE, Diagnosis, Facts, explain
from pillsnap.training import checkpoints

FACTS = Facts(
    scale="stage3",
    batch_size=32,
    detection_batch_size=16,
    detection_px=640,
    lr=3e-4,
    detection_lr=1e-3,
    num_workers="auto",
    data_root="/srv/aihub",
    disk="0.1 GB of 500.0 GB",
    tmp_disk="4.0 GB of 8.0 GB",
    tmp_dir="/tmp",
    ram="0.4 GB of 16.0 GB",
    shared_memory="0.1 GB of 0.1 GB",
    open_files="1024",
    gpu="NVIDIA GeForce RTX 5080, 15.2 of 15.9 GB in use now",
    torch="2.15.0",
    user="operator",
    log_path="logs/20251123-153701-train.log",
)


def as_dvc_prints(
    stage_output: str, exit_code: int = 1, stage: str = "train_classification"
) -> str:
    return (
        f"Running stage '{stage}':\n> python src/{stage}.py\n{stage_output}\n"
        f"ERROR: failed to reproduce '{stage}': failed to run: python src/{stage}.py, "
        f"exited with {exit_code}\n"
    )


def told_of(error: UserError, stage: str = "train_classification") -> Diagnosis:
    """The diagnosis of a refusal as a stage prints it."""
    return explain(255, as_dvc_prints(f"\n{stage}: {error.fact}\n  -> {error.cure}\n"), FACTS)


def run_and_explain(code: str, cwd: Path) -> Diagnosis:
    """The diagnosis of a Python program that really fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode != 0
    text = as_dvc_prints(done.stdout + done.stderr, done.returncode)
    return explain(255, text, FACTS)


def raise_and_explain(fail: Callable[[], object]) -> Diagnosis:
    """The diagnosis of a call that really fails."""
    try:
        fail()
    except Exception:
        return explain(255, as_dvc_prints(traceback.format_exc()), FACTS)
    raise AssertionError("it did not fail")


def test_a_refusal_of_ours_keeps_its_words() -> None:
    found = told_of(UserError("x.json: box is wide.", "Mend the label."), "validate")
    assert found == Diagnosis("refused", "x.json: box is wide.", "", ("Mend the label.",))


def test_a_refusal_of_several_lines_keeps_all_of_them() -> None:
    found = told_of(UserError("params.yaml cannot be used:\n  a: bad\n  b: bad", "Mend\nboth."))
    assert (found.fact.count("\n"), found.cures) == (2, ("Mend\nboth.",))


def test_disk_full_is_named_when_a_write_hits_it(tmp_path: Path) -> None:
    found = run_and_explain("open('/dev/full', 'wb', buffering=0).write(b'x' * 4096)", tmp_path)
    assert found.kind == "disk_full"
    assert "0.1 GB of 500.0 GB" in found.cause


def test_disk_full_is_named_in_the_words_of_torch() -> None:
    found = raise_and_explain(lambda: torch.save({"x": torch.zeros(100_000)}, "/dev/full"))
    assert found.kind == "disk_full"


@pytest.mark.slow
def test_disk_full_is_named_on_a_small_file_system(tmp_path: Path) -> None:
    code = "import pathlib; pathlib.Path('small/x').write_bytes(bytes(1 << 21))"
    script = 'mkdir small && mount -t tmpfs -o size=1m none small || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "OSError" not in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert explain(255, as_dvc_prints(done.stderr), FACTS).kind == "disk_full"


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: [enforce fail at inline_container.cc:626] . unexpected pos 704 vs 598",
        "RuntimeError: PytorchStreamWriter failed writing file data/3: file write failed",
        "OSError: [Errno 122] Disk quota exceeded: 'x'",
    ],
)
def test_disk_full_is_named_in_its_recorded_disguises(text: str) -> None:
    assert explain(255, as_dvc_prints(text), FACTS).kind == "disk_full"


def test_a_stage_killed_by_signal_9_ran_out_of_memory(tmp_path: Path) -> None:
    found = run_and_explain("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert found.kind == "memory"
    assert "0.4 GB of 16.0 GB" in found.cause


def test_dvc_itself_killed_by_signal_9_ran_out_of_memory() -> None:
    assert explain(-signal.SIGKILL, "Running stage 'validate':", FACTS).kind == "memory"


def test_memory_that_cannot_be_allocated_is_named() -> None:
    assert raise_and_explain(lambda: np.zeros((1 << 46,), np.uint8)).kind == "memory"


@pytest.mark.slow
def test_a_killed_loader_process_is_named(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text(
        textwrap.dedent("""
        import os, signal
        from torch.utils.data import DataLoader, Dataset

        class Killing(Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, index):
                os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            list(DataLoader(Killing(), num_workers=1))
        """)
    )
    found = run_and_explain("import runpy; runpy.run_path('trainer.py', run_name='__main__')",
                            tmp_path)  # fmt: skip
    assert found.kind == "memory"


def test_nan_in_the_words_of_the_classifier() -> None:
    fact = (
        "Epoch 3 is unusable even after going back to the last checkpoint: 9 of 12 steps had a "
        "loss or gradient that is not finite."
    )
    cure = "Repeat the command."
    found = told_of(UserError(fact, cure))
    assert (found.kind, found.fact, found.cures) == ("nan", fact, (cure,))


def test_nan_in_the_words_of_ultralytics() -> None:
    found = explain(
        255, as_dvc_prints("RuntimeError: Training failed: NaN persisted for 3 epochs"), FACTS
    )
    assert found.kind == "nan"
    assert "pillsnap train --fresh --lr 3e-05" in found.cures


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoints.publish(path, {"w": torch.arange(4096.0)}, {"kind": "classification"})
    content = bytearray(path.read_bytes())
    content[content.find(np.float32(2000).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        checkpoints.load_published(path)
    assert told_of(refused.value).kind == "checkpoint"


def test_a_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError) as refused:
        checkpoints.load_published(path)
    assert told_of(refused.value).kind == "checkpoint"


def test_a_truncated_checkpoint_is_named_when_torch_finds_it(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1000)}, tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:900])
    assert raise_and_explain(lambda: torch.load(tmp_path / "x.pt")).kind == "checkpoint"


def test_a_checkpoint_of_other_classes_is_named(tmp_path: Path) -> None:
    checkpoint, classes = tmp_path / "best.pt", tmp_path / "classes.csv"
    classes.write_text("class_index\n")
    config = {"kind": "classification", "class_table_hash": "0" * 64}
    checkpoints.publish(checkpoint, {"w": torch.zeros(2)}, config)
    with pytest.raises(UserError) as refused:
        unfinished.check_start(checkpoint, classes)
    assert told_of(refused.value).kind == "class_table"


def test_a_head_of_another_size_is_a_class_table_mismatch() -> None:
    def model(classes: int) -> torch.nn.Module:
        return torch.nn.ModuleDict({"fc": torch.nn.Linear(2, classes)})

    found = raise_and_explain(lambda: model(3).load_state_dict(model(4).state_dict()))
    assert found.kind == "class_table"


def test_a_data_root_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(params.DATA_ROOT_VARIABLE, raising=False)
    tree = params.read(Path(__file__).parents[2] / "params.yaml")
    with pytest.raises(UserError) as refused:
        params.parse({**tree, "scale": "stage1"}, Path("params.yaml")).data_root()
    assert told_of(refused.value, "build_manifest").kind == "data_root"


def test_a_photo_that_is_gone_in_mid_run_points_at_the_data_root(tmp_path: Path) -> None:
    found = run_and_explain("open('/srv/aihub/train/images/x.png')", tmp_path)
    assert found.kind == "data_root"
    assert "ls /srv/aihub" in found.cures


def test_a_server_that_went_away_points_at_the_data_root() -> None:
    text = f"OSError: [Errno {errno.ESTALE}] {os.strerror(errno.ESTALE)}: '/srv/aihub/x.png'"
    assert explain(255, as_dvc_prints(text), FACTS).kind == "data_root"


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    nobody = 65534  # root may write everywhere
    code = f"import os; os.geteuid() or os.seteuid({nobody}); open('x', 'w')"
    assert run_and_explain(code, tmp_path).kind == "permission"


def test_a_read_only_file_system_is_named() -> None:
    text = f"OSError: [Errno {errno.EROFS}] {os.strerror(errno.EROFS)}: 'artifacts/demo'"
    assert explain(255, as_dvc_prints(text), FACTS).kind == "permission"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code = f"import socket; socket.create_server(('127.0.0.1', {port}), reuse_port=False)"
        assert run_and_explain(code, tmp_path).kind == "port"


def test_a_lock_held_by_another_training_is_named(tmp_path: Path) -> None:
    with checkpoints.WorkFolder("train_detection", "f", tmp_path):
        with pytest.raises(UserError) as refused:
            checkpoints.WorkFolder("train_detection", "f", tmp_path).__enter__()
        assert told_of(refused.value, "train_detection").kind == "lock"


def test_an_interrupted_stage_is_named(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()"
    assert run_and_explain(code, tmp_path).kind == "interrupted"


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    assert run_and_explain("import no_such_library", tmp_path).kind == "environment"


def test_too_many_open_files_are_named(tmp_path: Path) -> None:
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        files = [open('/dev/null') for _ in range(30)]
    """
    assert run_and_explain(code, tmp_path).kind == "open_files"


RECORDED = [
    (
        "gpu_memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 15.92 GiB of which 1.01 GiB is free.",
    ),
    ("gpu_memory", "RuntimeError: CUDA error: out of memory"),
    ("gpu_memory", "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"),
    (
        "shared_memory",
        "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible "
        "that dataloader's workers are out of shared memory.",
    ),
    ("memory", "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed."),
    ("memory", "RuntimeError: DataLoader worker (pid(s) 4711, 4712) exited unexpectedly"),
    ("memory", "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: "
     "can't allocate memory: you tried to allocate 68719476736 bytes."),
    ("memory", "concurrent.futures.process.BrokenProcessPool: A process in the process pool was "
     "terminated abruptly while the future was running or pending."),
    ("memory", "validate: A worker process was killed; most often memory ran out."),
    (
        "cuda_architecture",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    ("cuda_assert", "RuntimeError: CUDA error: device-side assert triggered"),
    (
        "cuda_driver",
        "RuntimeError: Error 804: forward compatibility was attempted on non supported HW",
    ),
    ("cuda_driver", "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA "
     "runtime version"),
    (
        "cuda_driver",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    ),
    ("cuda_driver", "AssertionError: Torch not compiled with CUDA enabled"),
    ("cuda_driver", "Failed to initialize NVML: Driver/library version mismatch"),
    ("cuda_driver", "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    ("gpu_lost", "RuntimeError: CUDA error: unspecified launch failure"),
    ("gpu_lost", "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), RECORDED)
def test_recorded_texts_of_workers_and_gpus_are_named(kind: str, text: str) -> None:
    output = f'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n{text}'
    assert explain(255, as_dvc_prints(output), FACTS).kind == kind


DVC_TEXTS = [
    ("git_ownership", "fatal: detected dubious ownership in repository at '/srv/pillsnap'"),
    ("git_ownership", "ERROR: unexpected error - /srv/x/.git/: repository path '/srv/x' is not "
     "owned by current user"),
    ("user", "ERROR: unexpected error - 'getpwuid(): uid not found: 1042'"),
    ("user", "RuntimeError: could not determine the home directory for '~/.config', set an "
     "absolute HOME or XDG variable"),
    ("library", "ImportError: libGL.so.1: cannot open shared object file: No such file or "
     "directory"),
    ("library", "ImportError: /lib/x86_64-linux-gnu/libGL.so.1: file too short"),
    ("lock", "ERROR: Unable to acquire lock. Most likely another DVC process is running"),
    ("lock", "ERROR: 'artifacts/demo/classes.csv' is busy, it is being blocked by:\n  (PID 1): x"),
    ("git_identity", "ERROR: Git username and email must be configured"),
    ("git_repository", "ERROR: /srv/pillsnap is not a git repository"),
    ("dvc_repository", "ERROR: you are not inside of a DVC repository (checked up to mount '/')"),
    ("dvc_missing_cache", "WARNING: Some of the cache files do not exist neither locally nor on "
     "remote. Missing cache files:\nmd5: 1, path"),
    ("dvc_missing_cache", "ERROR: Checkout failed for following targets:\ndata/demo/crops"),
    (
        "dvc_output",
        "ERROR: failed to reproduce 'evaluate': output 'artifacts/demo/figures' does not exist",
    ),
    (
        "dvc_dependency",
        "ERROR: failed to reproduce 'evaluate': dependency 'data/demo/crops' does not exist",
    ),
    ("dvc_dependency", "ERROR: unexpected error - [Errno 2] No such file or directory: "
     "'/srv/pillsnap/data/fingerprints/stage3.json'"),
    ("dvc_parameters", "ERROR: failed to parse 'stages.validate.outs' in 'dvc.yaml': "
     "Could not find 'scale'"),
    ("dvc_yaml", "ERROR: 'dvc.yaml' is invalid."),
    ("interrupted", "ERROR: interrupted by the user"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), DVC_TEXTS)
def test_dvcs_own_errors_are_named(kind: str, text: str) -> None:
    assert explain(255, text, FACTS).kind == kind


def test_a_missing_output_is_named_with_its_stage() -> None:
    text = "ERROR: failed to reproduce 'evaluate': output 'artifacts/demo/x' does not exist"
    found = explain(255, text, FACTS)
    assert "artifacts/demo/x" in found.fact
    assert found.cures == ("dvc repro -f evaluate",)


def test_every_known_failure_has_a_test_text_and_a_cure() -> None:
    tested = {kind for kind, _ in RECORDED + DVC_TEXTS} | {
        "disk_full", "nan", "checkpoint", "class_table", "data_root", "permission", "port",
        "environment", "open_files", "network",
    }  # fmt: skip
    assert {known.kind for known in TABLE} == tested
    assert all(known.cures for known in TABLE)


def test_an_unknown_failure_shows_its_last_lines_and_where_the_log_is() -> None:
    found = explain(1, as_dvc_prints("ZeroDivisionError: division by zero"), FACTS)
    assert found.kind == "unknown"
    assert "ZeroDivisionError: division by zero" in found.cause
    assert FACTS.log_path in found.cures[0]


def test_weights_that_cannot_be_fetched_are_named() -> None:
    error = UserError("The pretrained weights of x could not be fetched: offline", "Fetch them.")
    assert told_of(error).kind == "network"


CLEAN = [
    "Running stage 'evaluate':\n> python src/evaluate.py",
    "Stage 'validate' didn't change, skipping",
    "Stage 'build_manifest' is cached - skipping run, checking out outputs",
    "Updating lock file 'dvc.lock'\nUse `dvc push` to send your updates to remote storage.",
    "Data and pipelines are up to date.",
    "/x/torch/cuda/__init__.py:180: UserWarning: CUDA initialization: The NVIDIA driver on your "
    "system is too old (found version 11040).",
    "/x/torch/amp/autocast_mode.py:1: UserWarning: no kernel image is available, CPU is used",
    "WARNING \u26a0\ufe0f CUDA out of memory with batch=16. Reducing to batch=8 and retrying",
    "WARNING \u26a0\ufe0f Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...",
    "Ultralytics 8.4.190 Python-3.11 torch-2.15.0 CPU (AMD EPYC)\nOptimizer stripped",
    "disk 12.1 GB free, memory 3.1 GB free, port 8888, lock .dvc/tmp/lock, nan 0, killed 0",
    "Reproducing experiment 'loopy-math'\nRan experiment(s): loopy-math\n"
    "Experiment results have been applied to your workspace.",
    "class table 24 classes, checkpoint written, interrupted never, permission granted",
]


@pytest.mark.parametrize("exit_code", [0, 1])
@pytest.mark.parametrize("text", CLEAN)
def test_a_clean_log_raises_no_alarm(text: str, exit_code: int) -> None:
    assert explain(exit_code, text, FACTS).kind == "unknown"


def test_all_clean_logs_together_raise_no_alarm() -> None:
    assert explain(1, "\n".join(CLEAN), FACTS).kind == "unknown"


def test_the_figures_of_this_machine_are_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(params.DATA_ROOT_VARIABLE, "/srv/photos")
    loaded = params.load(Path(__file__).parents[2] / "params.yaml")
    facts = diagnosis.gather(loaded, Path("logs/x.log"))
    assert facts.data_root == "/srv/photos"
    assert facts.disk.endswith(" GB")


EVENT = {
    "time": 5.0,
    "stage": "train_detection",
    "kind": "progress",
    "run": "ab",
    "epoch": 2,
    "message": "",
}
FOUND = Diagnosis("memory", "Out.", "Big.", ("Less.",))


def test_the_monitor_is_told_for_the_run_that_died(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(orjson.dumps(EVENT) + b"\n")
    diagnosis.record(FOUND, events, since_s=4.0)
    told = orjson.loads(events.read_bytes().splitlines()[-1])
    assert (told["run"], told["stage"], told["kind"]) == ("ab", "train_detection", "failure")
    assert (told["message"], told["cause"], told["cures"]) == ("Out.", "Big.", ["Less."])


@pytest.mark.parametrize(
    "change",
    [{"kind": "end"}, {"time": 3.0}, {"kind": "failure", "message": "Out."}],
    ids=["ended", "an earlier run", "said the same"],
)
def test_the_monitor_is_not_told_for_a_run(change: dict[str, object], tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(orjson.dumps(EVENT | change) + b"\n")
    diagnosis.record(FOUND, events, since_s=4.0)
    assert events.read_bytes().count(b"\n") == 1


def test_the_monitor_is_not_told_where_no_run_has_spoken(tmp_path: Path) -> None:
    diagnosis.record(FOUND, tmp_path / "events.jsonl", since_s=4.0)
    assert not (tmp_path / "events.jsonl").exists()
