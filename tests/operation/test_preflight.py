"""The checklist: each point on machines and projects made for it, here and elsewhere."""

import json
from pathlib import Path

import pandas as pd
import pytest

from make.made_project import by_name, loaded, make_project
from pillsnap import params
from pillsnap.aihub import fingerprint
from pillsnap.dataset import manifest
from pillsnap.operation import check_data, check_machine, preflight
from pillsnap.operation.point import Point


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(params.DATA_ROOT_VARIABLE, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def test_a_disk_too_small_for_the_scale_fails_with_both_figures(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_machine, "LEAST_FREE_BYTES", 1e18)
    [point] = check_machine.disk(loaded(project), project)
    assert point.status == "fail"
    assert "free; crops" in point.value


def test_crops_of_100000_pills_are_estimated_as_measured(project: Path) -> None:
    needed = check_machine.crops_bytes(loaded(project, scale="stage3"), project)
    crops = 105_000 * 36_864 * 3  # also in DVC's cache and in the store of what is decoded
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
    [point] = check_data.data(loaded(project, scale="stage1"), project)
    assert point.status == "fail"
    assert params.DATA_ROOT_VARIABLE in point.cure


def test_a_data_root_without_photos_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "empty").mkdir()
    monkeypatch.setenv(params.DATA_ROOT_VARIABLE, str(project / "empty"))
    assert check_data.data(loaded(project), project)[0].status == "fail"


def test_photos_are_read_and_their_speed_told(project: Path) -> None:
    speed = by_name(check_data.data(loaded(project), project))["data root"]
    assert "MB/s over 3 photos" in speed.value


def test_a_slow_disk_is_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_data, "SLOW_MB_S", 1e12)
    assert check_data.data(loaded(project), project)[0].status == "warn"


def test_an_unset_fingerprint_is_a_warning(project: Path) -> None:
    point = by_name(check_data.data(loaded(project), project))["fingerprint"]
    assert (point.status, "unset" in point.value) == ("warn", True)


def test_a_fingerprint_is_compared_with_the_tree(project: Path) -> None:
    path = project / fingerprint.path_of("demo")
    fingerprint.write(path, "demo", fingerprint.take(project / "data/demo"))
    assert by_name(check_data.data(loaded(project), project))["fingerprint"].status == "pass"


def test_another_tree_than_the_recorded_one_fails(project: Path) -> None:
    path = project / fingerprint.path_of("demo")
    fingerprint.write(path, "demo", fingerprint.take(project / "data/demo"))
    next((project / "data/demo").rglob("*.png")).write_bytes(b"other")
    assert by_name(check_data.data(loaded(project), project))["fingerprint"].status == "fail"


def write_manifests(project: Path, rows: dict[str, int], classes: int) -> None:
    folder = project / "artifacts/demo"
    for split, count in rows.items():
        row = {name: "" if kind == "str" else 0 for name, kind in manifest.COLUMNS.items()}
        manifest.write(folder / f"manifest_{split}.csv", pd.DataFrame([row] * count))
    row = {name: "" if kind == "str" else 0 for name, kind in manifest.CLASS_COLUMNS.items()}
    table = pd.DataFrame([{**row, "class_index": index} for index in range(classes)])
    manifest.write_classes(folder / "classes.csv", table)


def test_manifests_that_are_not_there_will_be_built(project: Path) -> None:
    [point] = check_data.manifests(loaded(project), project)
    assert (point.status, "will be built" in point.value) == ("pass", True)


def test_manifests_as_asked_for_pass(project: Path) -> None:
    write_manifests(project, {"train": 1200, "val": 300, "test": 9}, 24)
    assert check_data.manifests(loaded(project), project)[0].status == "pass"


def test_manifests_of_other_parameters_are_a_warning(project: Path) -> None:
    write_manifests(project, {"train": 600, "val": 300, "test": 9}, 24)
    [point] = check_data.manifests(loaded(project), project)
    assert (point.status, "1,500" in point.value) == ("warn", True)


def test_a_manifest_without_its_columns_fails(project: Path) -> None:
    write_manifests(project, {"train": 1200, "val": 300, "test": 9}, 24)
    (project / "artifacts/demo/manifest_val.csv").write_text("image_path\nx.png\n")
    assert check_data.manifests(loaded(project), project)[0].status == "fail"


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
