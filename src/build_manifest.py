"""Stage build_manifest: choose classes and photos, split them, write one row per pill."""

from pillsnap.aihub import reading
from pillsnap.formats import fingerprint
from pillsnap.manifest import build, corrected, corrections, tables
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import run


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Choose classes and photos of the data root and split them by capture group."""
    recorded = fingerprint.read(fingerprint.path_of(params.scale))
    rows = corrections.read(corrections.path_of(params.scale))
    with reading.without_gc():
        chosen = build.build(params.data_root(), params, recorded, log.progress)
        chosen = corrected.correct(chosen, rows, params.data_root())
        report = tables.write(chosen, params.artifacts_dir)
    tables.draw(chosen, params.artifacts_dir / "sampling.png")
    for name, finding in report["left_out"].items():
        log.warning(f"left out, {name}: {finding['count']:,}, e.g. {finding['examples'][0]}")
    for name, finding in report["findings"].items():
        log.info(f"found, {name}: {finding['count']:,}, e.g. {finding['examples'][0]}")
    counts = report["counts"]
    return {
        "classes": report["got"]["classes"],
        "train_pills": counts["train"]["pills"],
        "val_pills": counts["val"]["pills"],
        "test_pills": counts["test"]["pills"],
        "labels_read": report["labels_read"],
    }


if __name__ == "__main__":
    run("build_manifest", work)
