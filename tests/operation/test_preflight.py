"""The checklist: each point on machines and projects made for it, here and elsewhere."""

import json
from pathlib import Path

import pandas as pd
import pytest

from make.made_project import make_git, make_project
from pillsnap import params
from pillsnap.aihub import fingerprint
from pillsnap.dataset import manifest
from pillsnap.operation import check_gpu, check_machine, check_project, git_state, preflight
from pillsnap.operation.check_gpu import Gpu, Torch, runs_on
from pillsnap.operation.point import Point
from pillsnap.params import Params

CARD = Gpu("NVIDIA GeForce RTX 5080", "580.65", (13, 0), (12, 0), 1 << 30, 16 << 30, ())
BUILT = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
TORCH = Torch("2.15.0", "13.2", BUILT, 1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(params.DATA_ROOT_VARIABLE, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def loaded(project: Path, **changes: object) -> Params:
    """The project's parameters with top-level keys or the sections' keys changed."""
    tree = params.read(project / "params.yaml")
    for name, value in changes.items():
        if isinstance(value, dict):
            tree[name] |= value
        else:
            tree[name] = value
    return params.parse(tree, project / "params.yaml")


def by_name(points: list[Point]) -> dict[str, Point]:
    return {point.name: point for point in points}


def test_a_card_that_fits_passes_every_point() -> None:
    points = check_gpu.judge(CARD, TORCH, "auto", "stage3")
    assert [(point.name, point.status) for point in points] == [
        ("gpu", "pass"),
        ("gpu memory", "pass"),
        ("gpu and torch", "pass"),
    ]


@pytest.mark.parametrize(
    ("scale", "status"),
    [("demo", "warn"), ("stage1", "warn"), ("stage2", "fail"), ("stage4", "fail")],
)
def test_no_gpu_is_a_failure_from_stage2_on(scale: str, status: str) -> None:
    [point] = check_gpu.judge(None, TORCH, "auto", scale, "no driver")
    assert (point.status, "no driver" in point.value) == (status, True)


def test_a_gpu_that_was_asked_for_by_name_must_be_there() -> None:
    [point] = check_gpu.judge(None, TORCH, "cuda:1", "demo", "Invalid Argument")
    assert point.status == "fail"


def test_without_a_wish_for_a_gpu_none_is_needed(project: Path) -> None:
    wish = loaded(project, scale="stage3", train={"device": "cpu"})
    assert [point.status for point in check_gpu.check(wish, project)] == ["pass"]


def test_a_busy_gpu_is_named_with_who_uses_it() -> None:
    busy = Gpu(**{**vars(CARD), "used_bytes": 12 << 30, "users": ("python (4711, 11.0 GiB)",)})
    point = by_name(check_gpu.judge(busy, TORCH, "auto", "stage3"))["gpu memory"]
    assert point.status == "warn"
    assert "12.0 of 16.0 GiB in use (75%): python (4711, 11.0 GiB)" in point.value


@pytest.mark.parametrize(
    ("torch", "word"),
    [
        (Torch("2.15.0+cpu", None, (), 0), "built without CUDA"),
        (Torch("2.15.0", "13.2", ("sm_80", "sm_90"), 1), "built for sm_80 sm_90"),
        (Torch("2.15.0", "13.2", BUILT, 0), "sees no device"),
    ],
)
def test_a_torch_that_cannot_use_the_card_fails(torch: Torch, word: str) -> None:
    point = by_name(check_gpu.judge(CARD, torch, "auto", "demo"))["gpu and torch"]
    assert (point.status, word in point.value) == ("fail", True)


def test_a_driver_older_than_torchs_cuda_is_a_warning() -> None:
    old = Gpu(**{**vars(CARD), "driver_cuda": (12, 8)})
    assert check_gpu.judge(old, TORCH, "auto", "demo")[-1].status == "warn"


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ("sm_80", "sm_90"), True),
        ((12, 0), ("sm_90",), False),
        ((12, 0), ("sm_90", "compute_90"), True),
        ((7, 0), ("sm_75", "sm_80"), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100a",), False),
    ],
)
def test_code_runs_on_its_own_generation_and_newer_members_of_it(
    capability: tuple[int, int], architectures: tuple[str, ...], runs: bool
) -> None:
    assert runs_on(capability, architectures) is runs


def test_a_hidden_gpu_is_told_as_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu, reason = check_gpu.look(0)
    assert gpu is None
    assert reason


def test_a_disk_too_small_for_the_scale_fails_with_both_figures(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_machine, "LEAST_FREE_BYTES", 1e18)
    [point] = check_machine.disk(loaded(project), project)
    assert point.status == "fail"
    assert "free; crops" in point.value


def test_crops_of_100000_pills_are_estimated_as_measured(project: Path) -> None:
    needed = check_machine.crops_bytes(loaded(project, scale="stage3"), project)
    crops = 105_000 * 16_384 * 3  # also in DVC's cache and in the store of what is decoded
    assert crops < needed < 3 * crops


def test_crops_that_are_there_need_no_more_disk(project: Path) -> None:
    (project / "data/demo/crops").mkdir()
    (project / "data/demo/crops/train.arrow").touch()
    assert check_machine.crops_bytes(loaded(project), project) == 0


def test_rows_of_the_manifests_replace_the_estimate(project: Path) -> None:
    demo = loaded(project)
    guessed = check_machine.crops_bytes(demo, project)
    write_manifests(project, {"train": 1, "val": 1, "test": 1}, 24)
    assert check_machine.crops_bytes(demo, project) < guessed


def test_shared_memory_of_a_container_is_too_small_for_stage3(project: Path) -> None:
    point = check_machine.shared_memory(loaded(project, scale="stage3"), 8, 64 << 20, False)
    assert (point.status, "--shm-size" in point.cure) == ("fail", True)


def test_loading_in_the_trainer_needs_no_shared_memory(project: Path) -> None:
    assert check_machine.shared_memory(loaded(project), 0, 0, True).status == "pass"


def test_one_loader_holds_larger_batches_in_validation_than_in_training(project: Path) -> None:
    stage3 = loaded(project, scale="stage3")
    batch_bytes = stage3.batch_size * stage3.at_scale.image_px**2 * 3
    kept = [check_machine.crop_batches_bytes(stage3, n) / batch_bytes for n in (1, 2, 8)]
    assert kept == [2 * 5, 2 * 5, 2 * 17]  # twice: four of each process and the one in use


def test_a_small_set_has_no_more_batches_than_an_epoch(project: Path) -> None:
    demo = loaded(project, train={"batch_size": 4000})
    batch_bytes = 4000 * demo.at_scale.image_px**2 * 3
    assert check_machine.crop_batches_bytes(demo, 8) == 2 * batch_bytes


def test_the_detectors_validation_keeps_its_batches_beside_those_of_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_machine.os, "cpu_count", lambda: 64)
    stage3 = loaded(project, scale="stage3")
    batch_bytes = stage3.train.detection_batch_size * stage3.at_scale.detection_px**2 * 3
    kept = check_machine.frame_batches_bytes(stage3, 8) / batch_bytes
    assert kept == (2 * 8 + 1) + 2 * (2 * 16)


def test_one_loader_is_told_in_the_singular(project: Path) -> None:
    [point] = check_machine.processors(loaded(project, train={"num_workers": 1}), project)
    assert point.value.endswith("1 loader process")


def test_more_loaders_than_cores_is_a_warning(project: Path) -> None:
    [point] = check_machine.processors(loaded(project, train={"num_workers": 999}), project)
    assert point.status == "warn"


def test_more_memory_than_is_free_is_not_passed(project: Path) -> None:
    greedy = loaded(project, train={"num_workers": 100_000})
    assert check_machine.memory(greedy, project)[0].status == "warn"


def test_a_missing_data_root_fails_with_the_cure_of_the_parameters(project: Path) -> None:
    [point] = check_project.data(loaded(project, scale="stage1"), project)
    assert point.status == "fail"
    assert params.DATA_ROOT_VARIABLE in point.cure


def test_a_data_root_without_photos_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "empty").mkdir()
    monkeypatch.setenv(params.DATA_ROOT_VARIABLE, str(project / "empty"))
    assert check_project.data(loaded(project), project)[0].status == "fail"


def test_photos_are_read_and_their_speed_told(project: Path) -> None:
    speed = by_name(check_project.data(loaded(project), project))["data root"]
    assert "MB/s over 3 photos" in speed.value


def test_a_slow_disk_is_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_project, "SLOW_MB_S", 1e12)
    assert check_project.data(loaded(project), project)[0].status == "warn"


def test_an_unset_fingerprint_is_a_warning(project: Path) -> None:
    point = by_name(check_project.data(loaded(project), project))["fingerprint"]
    assert (point.status, "unset" in point.value) == ("warn", True)


def test_a_fingerprint_is_compared_with_the_tree(project: Path) -> None:
    path = project / fingerprint.path_of("demo")
    fingerprint.write(path, "demo", fingerprint.take(project / "data/demo"))
    assert by_name(check_project.data(loaded(project), project))["fingerprint"].status == "pass"


def test_another_tree_than_the_recorded_one_fails(project: Path) -> None:
    path = project / fingerprint.path_of("demo")
    fingerprint.write(path, "demo", fingerprint.take(project / "data/demo"))
    next((project / "data/demo").rglob("*.png")).write_bytes(b"other")
    assert by_name(check_project.data(loaded(project), project))["fingerprint"].status == "fail"


def write_manifests(project: Path, rows: dict[str, int], classes: int) -> None:
    folder = project / "artifacts/demo"
    for split, count in rows.items():
        row = {name: "" if kind == "str" else 0 for name, kind in manifest.COLUMNS.items()}
        manifest.write(folder / f"manifest_{split}.csv", pd.DataFrame([row] * count))
    row = {name: "" if kind == "str" else 0 for name, kind in manifest.CLASS_COLUMNS.items()}
    table = pd.DataFrame([{**row, "class_index": index} for index in range(classes)])
    manifest.write_classes(folder / "classes.csv", table)


def test_manifests_that_are_not_there_will_be_built(project: Path) -> None:
    [point] = check_project.manifests(loaded(project), project)
    assert (point.status, "will be built" in point.value) == ("pass", True)


def test_manifests_as_asked_for_pass(project: Path) -> None:
    write_manifests(project, {"train": 1200, "val": 300, "test": 9}, 24)
    assert check_project.manifests(loaded(project), project)[0].status == "pass"


def test_manifests_of_other_parameters_are_a_warning(project: Path) -> None:
    write_manifests(project, {"train": 600, "val": 300, "test": 9}, 24)
    [point] = check_project.manifests(loaded(project), project)
    assert (point.status, "1,500" in point.value) == ("warn", True)


def test_a_manifest_without_its_columns_fails(project: Path) -> None:
    write_manifests(project, {"train": 1200, "val": 300, "test": 9}, 24)
    (project / "artifacts/demo/manifest_val.csv").write_text("image_path\nx.png\n")
    assert check_project.manifests(loaded(project), project)[0].status == "fail"


def test_weights_from_scratch_pass(project: Path) -> None:
    points = check_project.weights(loaded(project), project)
    assert [point.status for point in points] == ["pass", "pass"]


def test_hub_weights_that_were_never_fetched_fail_offline(project: Path) -> None:
    point = check_project.weights(loaded(project, scale="stage3"), project)[0]
    assert (point.status, "scales.stage3.classifier_weights" in point.cure) == ("fail", True)


def test_hub_weights_that_were_fetched_pass(project: Path) -> None:
    wanted = loaded(project, scale="stage3")
    name = f"models--timm--{wanted.at_scale.classifier}"
    (project / "hub/hub" / name / "snapshots" / "abc").mkdir(parents=True)
    assert check_project.weights(wanted, project)[0].status == "pass"


def test_a_path_of_weights_that_is_not_here_fails(project: Path) -> None:
    tree = params.read(project / "params.yaml")
    tree["scales"]["demo"]["detector_weights"] = "weights/none.pt"
    wanted = params.parse(tree, project / "params.yaml")
    assert check_project.weights(wanted, project)[1].status == "fail"


def test_a_folder_without_git_is_a_warning_with_the_commands(project: Path) -> None:
    [point] = check_project.git(loaded(project), project)
    assert (point.status, "git init" in point.cure) == ("warn", True)


def test_a_repository_without_a_commit_cannot_run_experiments(project: Path) -> None:
    make_git(project)
    assert git_state.read(project).hindrance == "no commit yet"


def test_no_remote_is_a_warning_for_real_data_only(project: Path) -> None:
    [demo] = check_project.remote(loaded(project), project)
    [real] = check_project.remote(loaded(project, scale="stage3"), project)
    assert (demo.status, real.status) == ("pass", "warn")


def test_a_default_remote_is_named(project: Path) -> None:
    (project / ".dvc/config").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = /mnt/store\n"
    )
    [point] = check_project.remote(loaded(project, scale="stage3"), project)
    assert (point.status, point.value) == ("pass", "store")


def test_a_folder_that_is_no_dvc_project_fails(project: Path) -> None:
    (project / "dvc.yaml").unlink()
    assert check_project.dvc(loaded(project), project)[0].status == "fail"


def test_every_check_runs_on_this_machine_and_each_ill_has_a_cure(project: Path) -> None:
    points = preflight.check(loaded(project), project)
    assert {"gpu", "disk", "memory", "processors", "data root", "git"} <= set(by_name(points))
    assert all(point.cure for point in points if point.status != "pass")


def test_json_says_ok_only_without_a_failure() -> None:
    good, bad = Point("disk", "warn", "9 GB", "dvc gc"), Point("gpu", "fail", "none", "nvidia-smi")
    assert json.loads(preflight.as_json([good]))["ok"] is True
    told = json.loads(preflight.as_json([good, bad]))
    assert told["ok"] is False
    assert told["points"][1] == {
        "name": "gpu", "status": "fail", "value": "none", "cure": "nvidia-smi",
    }  # fmt: skip
