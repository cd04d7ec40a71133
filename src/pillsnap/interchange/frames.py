"""Frames of val and test with labels and predictions, for evaluation and annotation tools."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import xxhash

from pillsnap import files
from pillsnap.dataset.frames import FrameStore
from pillsnap.places import Places

Json = dict[str, Any]
SPLITS = ("val", "test")
UNKNOWN = "unknown"  # the label of a refused pill
RIGHT = "right"  # the outcome of a pill without error
SERVED = "/data/local-files/?d=images"  # by Label Studio


@dataclass(frozen=True)
class ExportedFrame:
    """A frame with its pills: boxes are x, y, width, height in pixels."""

    name: str  # file name in the export
    image_path: str  # in the data set
    width: int
    height: int
    labels: list[Json]  # code, box
    predictions: list[Json]  # code ("unknown" if refused), box, confidence, outcome


def coco(places: Places, out: Path, most: int) -> str:
    """COCO annotations with a category per K-code, and predictions as COCO results."""
    frames = list(_written(places, out / "images", most))
    codes = sorted({pill["code"] for frame in frames for pill in frame.labels + frame.predictions})
    category_of = {code: at for at, code in enumerate(codes, start=1)}
    images: list[Json] = []
    annotations: list[Json] = []
    results: list[Json] = []
    for at, frame in enumerate(frames, start=1):
        size = {"width": frame.width, "height": frame.height}
        images.append({"id": at, "file_name": frame.name, **size})
        for pill in frame.labels + frame.predictions:
            box, category = pill["box"], category_of[pill["code"]]
            found = {"image_id": at, "category_id": category, "bbox": box}
            if "confidence" in pill:
                results.append({**found, "score": pill["confidence"]})
            else:
                more = {"iscrowd": 0, "area": box[2] * box[3]}
                annotations.append({"id": len(annotations) + 1, **found, **more})
    categories = [{"id": at, "name": code} for code, at in category_of.items()]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    files.write_json(out / "annotations.json", tree)
    files.write_json(out / "predictions.json", results)
    return f"{len(frames)} frames, annotations.json and predictions.json"


def label_studio(places: Places, out: Path, most: int) -> str:
    """Tasks of Label Studio: labels as annotations, predictions as predictions."""
    tasks = [
        {
            "data": {"image": f"{SERVED}/{frame.name}", "path": frame.image_path},
            "annotations": [{"result": [_rectangle(frame, pill) for pill in frame.labels]}],
            "predictions": [
                {
                    "model_version": places.scale,
                    "result": [_rectangle(frame, pill) for pill in frame.predictions],
                }
            ],
        }
        for frame in _written(places, out / "images", most)
    ]
    files.write_json(out / "tasks.json", tasks)
    return f"{len(tasks)} tasks; serve OUT with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"


def fiftyone(places: Places, out: Path, most: int) -> str:
    """FiftyOneImageDetectionDataset: predictions with confidence, outcome and true code."""
    frames = list(_written(places, out / "data", most))
    codes = sorted({pill["code"] for frame in frames for pill in frame.predictions})
    labels = {
        Path(frame.name).stem: [
            {
                "label": codes.index(pill["code"]),
                "bounding_box": _relative(frame, pill["box"], 1.0),
                "confidence": pill["confidence"],
                "attributes": {"outcome": pill["outcome"], "true_code": pill["true_code"]},
            }
            for pill in frame.predictions
        ]
        for frame in frames
    }
    files.write_json(out / "labels.json", {"classes": codes, "labels": labels})
    return f"{len(frames)} frames; fiftyone.types.FiftyOneImageDetectionDataset"


def name_of(split: str, image_path: str) -> str:
    """File name of a frame in an export: the same for the same photo, whatever else is exported."""
    return f"{split}_{xxhash.xxh3_64_hexdigest(image_path.encode())}.jpg"


def _written(places: Places, folder: Path, most: int) -> Iterator[ExportedFrame]:
    """Write the JPEG files of the frames with most errors and yield their pills."""
    folder.mkdir(parents=True)
    path = places.artifacts_dir / "pipeline.parquet"
    pills = pq.read_table(path).to_pandas()
    errors = (pills["outcome"] != RIGHT).groupby([pills["split"], pills["image_path"]]).sum()
    worst = set(errors.sort_values(ascending=False, kind="stable").index[:most])
    rows_of = dict(list(pills.groupby(["split", "image_path"])))
    for split in SPLITS:
        store = FrameStore(places.frames(split))
        for at, labelled in enumerate(store.labels):
            if (split, labelled.image_path) not in worst:
                continue
            row = store.arrow.slice(at, 1).select(["width", "height", "jpeg"]).to_pylist()[0]
            name = name_of(split, labelled.image_path)
            (folder / name).write_bytes(row["jpeg"])
            pairs = zip(labelled.codes, labelled.box.tolist(), strict=True)
            labels = [{"code": code, "box": _xywh(box)} for code, box in pairs]
            predictions = _predictions(rows_of[split, labelled.image_path])
            size = row["width"], row["height"]
            yield ExportedFrame(name, labelled.image_path, *size, labels, predictions)


def _predictions(rows: pd.DataFrame) -> list[Json]:
    if "box" not in rows:  # the detector found no pill at all
        return []
    return [
        {
            "code": UNKNOWN if row["refused"] else row["code"],
            "box": _xywh(row["box"]),
            "confidence": float(row["box_confidence"] * row["confidence"]),
            "outcome": row["outcome"],
            "true_code": row["true_code"] if isinstance(row["true_code"], str) else "",
        }
        for row in rows[rows["box"].notna()].to_dict("records")
    ]


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return [x1, y1, x2 - x1, y2 - y1]


def _relative(frame: ExportedFrame, box: Sequence[float], whole: float) -> list[float]:
    """x, y, width, height as a share of the frame, times `whole`."""
    sides = (frame.width, frame.height, frame.width, frame.height)
    return [whole * value / side for value, side in zip(box, sides, strict=True)]


def _rectangle(frame: ExportedFrame, pill: Json) -> Json:
    sides = ("x", "y", "width", "height")
    value = dict(zip(sides, _relative(frame, pill["box"], 100.0), strict=True))
    return {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": frame.width,
        "original_height": frame.height,
        "value": {**value, "rotation": 0, "rectanglelabels": [pill["code"]]},
        **({"score": pill["confidence"]} if "confidence" in pill else {}),
    }
