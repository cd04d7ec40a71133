"""Orders for build_manifest: the scale stage1 with small numbers."""

from dataclasses import replace
from typing import Any

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.manifest.build import Order
from pillsnap.manifest.classes import UnknownPills
from pillsnap.stage.engines import Engine

NUMBERS = {
    "samples": 200, "classes": 8, "combination_share": 0.2, "val_share": 0.2,
    "min_train_per_class": 8, "min_val_per_class": 2, "test_unknown_pills": 12,
}  # fmt: skip
SCALE = params.load(ROOT / "params.yaml").scales["stage1"]


def order(**changes: Any) -> Order:
    """The order with other numbers of the scale, or other fields."""
    numbers = {**NUMBERS, **{key: changes.pop(key) for key in NUMBERS if key in changes}}
    wanted = SCALE.model_copy(update=numbers)
    plain = Order("stage1", "aihub", wanted, UnknownPills(0, 0), 17, Engine(processes=1))
    return replace(plain, **changes)
