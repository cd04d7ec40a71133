"""The pictures that the two models are trained on, for other trainers."""

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.places import Places

SPLITS = {"train": "train", "val": "validation"}  # ours, and Hugging Face's name
ROWS = 1_000  # of a row group


def imagefolder(places: Places, out: Path, _most: int) -> str:
    """A folder per K-code with the crops of known pills: torchvision, timm, Keras, FastAI."""
    count = 0
    for split in SPLITS:
        for number, (code, jpeg) in enumerate(_known_crops(places, split)):
            path = out / split / code / f"{number:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg)
            count += 1
    return f"{count} crops in a folder per K-code"


def hugging_face(places: Places, out: Path, _most: int) -> str:
    """Parquet files with an Image and a ClassLabel feature: `datasets.load_dataset(OUT)`."""
    classes = manifest.read_classes(places.classes)
    index_of = {code: at for at, code in enumerate(classes["mapping_code"])}
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes["mapping_code"]), "_type": "ClassLabel"},
        "drug_name": {"dtype": "string", "_type": "Value"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("drug_name", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    count = 0
    (out / "data").mkdir()
    for split, name in SPLITS.items():
        with pq.ParquetWriter(out / "data" / f"{name}-00000-of-00001.parquet", schema) as writer:
            crops = _known_crops(places, split)
            while rows := list(islice(crops, ROWS)):
                labels = [index_of[code] for code, _ in rows]
                pictures = [{"bytes": jpeg, "path": None} for _, jpeg in rows]
                names = classes["drug_name"].iloc[labels].tolist()
                writer.write_table(pa.table([pictures, labels, names], schema=schema))
                count += len(rows)
    return f"{count} crops; datasets.load_dataset reads the folder"


def yolo(places: Places, out: Path, _most: int) -> str:
    """A copy of the detector's data set, one class: `yolo detect train data=OUT/dataset.yaml`."""
    shutil.copytree(places.data_dir / "detection", out, dirs_exist_ok=True)
    return f"{len(list(out.glob('images/*/*.jpg')))} frames; dataset.yaml for yolo"


def _known_crops(places: Places, split: str) -> Iterator[tuple[str, bytes]]:
    """K-code and JPEG bytes of the crops whose code is a class."""
    for batch in CropStore(places.crops(split)).arrow.to_batches():
        columns = (batch[name].to_pylist() for name in ("mapping_code", "known", "jpeg"))
        yield from ((code, jpeg) for code, known, jpeg in zip(*columns, strict=True) if known)
