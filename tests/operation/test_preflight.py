"""The checklist: each point on machines and projects made for it, here and elsewhere."""

import json
from dataclasses import asdict

import pandas as pd

from make.made_project import by_name, loaded
from pillsnap import params
from pillsnap.dataset import manifest
from pillsnap.formats import fingerprint
from pillsnap.operation import check_data, check_machine, preflight
from pillsnap.operation.point import Point


def test_crops_of_100000_pills_are_estimated_as_measured_until_they_are_there(project):
    stage3 = loaded(project, scale="stage3")
    crops = 105_000 * 36_864 * 3  # also in DVC's cache and in the store of what is decoded
    assert crops < check_machine.crops_bytes(stage3, project) < 3 * crops
    (project / "data/stage3/crops").mkdir(parents=True)
    (project / "data/stage3/crops/train.arrow").touch()
    assert check_machine.crops_bytes(stage3, project) == 0


def test_shared_memory_must_hold_the_batches_that_loaders_keep_ready(project, monkeypatch):
    stage3, demo = loaded(project, scale="stage3"), loaded(project, train={"batch_size": 4000})
    crops = stage3.batch_size * stage3.at_scale.image_px**2 * 3
    kept = [check_machine.crop_batches_bytes(stage3, n) / crops for n in (1, 2, 8)]
    assert kept == [2 * 5, 2 * 5, 2 * 17]  # validation: four of each process and the one in use
    epoch = 4000 * demo.at_scale.image_px**2 * 3  # no more than an epoch has
    assert check_machine.crop_batches_bytes(demo, 8) == 2 * epoch
    monkeypatch.setattr(check_machine.os, "cpu_count", lambda: 64)
    frames = stage3.train.detection_batch_size * stage3.at_scale.detection_px**2 * 3
    of_detector = check_machine.frame_batches_bytes(stage3, 8) / frames
    assert of_detector == (2 * 8 + 1) + 2 * (2 * 16)  # of training and of validation
    point = check_machine.shared_memory(stage3, 8, 64 << 20, False)  # of a container
    assert (point.status, "--shm-size" in point.cure) == ("fail", True)
    assert check_machine.shared_memory(demo, 0, 0, True).status == "pass"


def test_too_small_a_disk_fails_and_loaders_beyond_cores_or_memory_warn(project, monkeypatch):
    monkeypatch.setattr(check_machine, "LEAST_FREE_BYTES", 1e18)
    greedy = loaded(project, train={"num_workers": 100_000})
    checks = (check_machine.disk, check_machine.processors, check_machine.memory)
    assert [check(greedy, project)[0].status for check in checks] == ["fail", "warn", "warn"]


def data(project, **changes):
    return by_name(check_data.data(loaded(project, **changes), project))


def test_a_data_root_that_is_unset_or_empty_fails_and_a_slow_one_is_a_warning(project, monkeypatch):
    assert "MB/s (photos read: 3)" in data(project)["data root"].value
    unset = data(project, scale="stage1")["data root"]
    assert (unset.status, params.DATA_ROOT_VARIABLE in unset.cure) == ("fail", True)
    monkeypatch.setattr(check_data, "SLOW_MB_S", 1e12)
    assert data(project)["data root"].status == "warn"
    (project / "empty").mkdir()
    monkeypatch.setenv(params.DATA_ROOT_VARIABLE, str(project / "empty"))
    assert data(project)["data root"].status == "fail"


def test_a_fingerprint_is_unset_or_compared_with_the_tree(project):
    assert data(project)["fingerprint"].status == "warn"
    path = project / fingerprint.path_of("demo")
    fingerprint.write(path, "demo", fingerprint.take(project / "data/demo"))
    assert data(project)["fingerprint"].status == "pass"
    next((project / "data/demo").rglob("*.png")).write_bytes(b"other")
    assert data(project)["fingerprint"].status == "fail"


def write_manifests(project, rows, classes):
    folder = project / "artifacts/demo"
    row, of_class = (
        {name: "" if kind == "str" else 0 for name, kind in columns.items()}
        for columns in (manifest.COLUMNS, manifest.CLASS_COLUMNS)
    )
    for split, count in rows.items():
        manifest.write(folder / f"manifest_{split}.csv", pd.DataFrame([row] * count))
    table = pd.DataFrame([{**of_class, "class_index": index} for index in range(classes)])
    manifest.write_classes(folder / "classes.csv", table)


def test_manifests_are_built_fit_the_parameters_or_are_damaged(project):
    def point():
        [found] = check_data.manifests(loaded(project), project)
        return found.status, "will be built" in found.value, "1,500" in found.value

    assert point() == ("pass", True, False)
    write_manifests(project, {"train": 1200, "val": 300, "test": 9}, 24)
    assert point() == ("pass", False, False)
    write_manifests(project, {"train": 600}, 24)
    assert point() == ("warn", False, True)
    (project / "artifacts/demo/manifest_val.csv").write_text("image_path\nx.png\n")
    assert point()[0] == "fail"


def test_every_check_runs_on_this_machine_and_each_problem_has_a_cure(project):
    points = preflight.check(loaded(project), project)
    assert {"gpu", "disk", "memory", "processors", "data root", "git"} <= set(by_name(points))
    assert all(point.cure for point in points if point.status != "pass")


def test_json_is_ok_only_without_a_failure():
    good, bad = Point("disk", "warn", "9 GB", "dvc gc"), Point("gpu", "fail", "none", "nvidia-smi")
    for points, ok in (([good], True), ([good, bad], False)):
        tree = {"ok": ok, "points": [asdict(point) for point in points]}
        assert json.loads(preflight.as_json(points)) == tree


def test_a_path_read_in_the_c_locale_is_whole_in_json():
    point = Point("dvc", "pass", "알약".encode().decode("ascii", "surrogateescape"))
    assert json.loads(preflight.as_json([point]))["points"][0]["value"] == "알약"
