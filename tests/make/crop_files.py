"""Small crop stores for tests: coloured squares, one hue per class."""

import numpy as np
import pandas as pd

from pillsnap.dataset.arrow import arrow_writer
from pillsnap.dataset.crops import SCHEMA
from pillsnap.dataset.pixels import encode


def rows(count, classes, seed=0):
    """Rows of a crop store, `count` crops of `classes` classes, every fifth not known."""
    rng = np.random.default_rng(seed)
    hues = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [60, 60, 60]])
    assert classes <= len(hues)
    for i in range(count):
        label = i % classes
        known = i % 5 != 4
        pixels = np.clip(rng.normal(hues[label], 25, (32, 32, 3)), 0, 255)
        yield {
            "image_path": f"train/images/{i:05}.png",
            "mapping_code": f"K-{label:06}",
            "class_index": label if known else -1,
            "known": known,
            "image_type": "single",
            "group_id": f"g{i % 7}",
            "back": 0, "direction": 0, "light": 0, "latitude": 90, "longitude": 0,
            "box_x": 1, "box_y": 1, "box_w": 9, "box_h": 9,
            "content_hash": "0",
            "jpeg": encode(pixels.astype(np.uint8), 95),
        }  # fmt: skip


def write_store(path, table, jpegs):
    """A crop store from a table with SCHEMA's columns except jpeg, and the JPEG bytes."""
    rows = table[SCHEMA.names[:-1]].to_dict("records")
    with arrow_writer(path, SCHEMA) as writer:
        for row, jpeg in zip(rows, jpegs, strict=True):
            writer.add({**row, "jpeg": jpeg})


def write(folder, train=60, val=30, classes=4):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": train, "val": val}.items()):
        table = pd.DataFrame(rows(count, classes, seed))
        jpegs = table.pop("jpeg").tolist()
        write_store(folder / f"{split}.arrow", table, jpegs)
    return folder
