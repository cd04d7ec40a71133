"""Parameters for build_manifest: one scale, its numbers, and how labels are read."""

from typing import Any

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.params import DataParams, Params, ScaleParams

NUMBERS = {
    "samples": 200, "classes": 8, "combination_share": 0.2, "val_share": 0.2,
    "min_train_per_class": 8, "min_val_per_class": 2, "test_unknown_pills": 12,
}  # fmt: skip
COMMITTED = params.load(ROOT / "params.yaml")


def at_scale(
    scale: str, wanted: ScaleParams, form: str = "aihub", engine: str = "local", **options: int
) -> Params:
    """The committed parameters at one scale; `options`: of build_manifest."""
    alone = {"num_workers": 1, **options}
    return COMMITTED.model_copy(
        update={
            "scale": scale,
            "scales": {scale: wanted},
            "data": DataParams(format=form, root=None),
            "validate_": COMMITTED.validate_.model_copy(update={"engine": engine}),
            "build_manifest": COMMITTED.build_manifest.model_copy(update=alone),
        }
    )


def order(engine: str = "local", num_workers: int = 1, **numbers: Any) -> Params:
    """The scale stage1 with small numbers, some of them given."""
    wanted = COMMITTED.scales["stage1"].model_copy(update={**NUMBERS, **numbers})
    return at_scale("stage1", wanted, engine=engine, num_workers=num_workers)
