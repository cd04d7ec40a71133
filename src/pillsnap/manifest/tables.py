"""Writes the outputs of build_manifest: manifests, class table, sampling.json, sampling.png."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap import files
from pillsnap.aihub.labels import DrugFields
from pillsnap.arrays import Bools, Ints
from pillsnap.dataset import manifest
from pillsnap.dataset.manifest import Rows
from pillsnap.manifest import sampling
from pillsnap.manifest.build import Selection
from pillsnap.manifest.candidates import Candidates
from pillsnap.manifest.choice import TRAIN, VAL

BOX_COLUMNS = ("box_x", "box_y", "box_w", "box_h", "image_width", "image_height")
VIEW = {"drug_state": "state", **{name: name for name in ("back", "direction", "light")},
        "latitude": "latitude", "longitude": "longitude"}  # fmt: skip


def write(selection: Selection, artifacts_dir: Path) -> dict[str, Any]:
    """Write manifest_{train,val,test}.csv, classes.csv, sampling.json; return the report."""
    rows = {name: rows_of(selection, side) for side, name in enumerate(manifest.SPLITS)}
    paths = [artifacts_dir / f"manifest_{name}.csv" for name in rows]
    with ThreadPoolExecutor(1) as disk:  # writes while the next is made
        written = disk.map(files.write_bytes, paths, map(manifest.as_csv, rows.values()))
        drugs = drugs_of_classes(selection)
        manifest.write_classes(artifacts_dir / "classes.csv", classes_of(selection, drugs))
        list(written)  # raises what the disk raised
    for code, of_class in zip(selection.choice.classes, drugs, strict=True):
        if len(of_class) > 1:
            selection.findings.add("drug_texts_differ", selection.candidates.codes[code])
    manifest_bytes = sum(path.stat().st_size for path in paths)
    report = sampling.report(selection, rows, manifest_bytes)
    files.write_json(artifacts_dir / "sampling.json", report)
    return report


def draw(selection: Selection, path: Path) -> None:
    """Plot the choice: sampling.png."""
    from pillsnap.manifest import sampling_plot  # matplotlib: a second's import

    rows = {name: rows_of(selection, side) for side, name in enumerate(manifest.SPLITS)}
    sampling_plot.draw(rows, path)


def rows_of(selection: Selection, side: int) -> Rows:
    """The manifest of a split: a row per pill of its frames, columns as manifest.COLUMNS."""
    frames = selection.candidates
    pills = np.flatnonzero(selection.choice.split[frames.pill_frame] == side)
    frame, code = frames.pill_frame[pills], frames.pill_code[pills]
    class_of = np.full(len(frames.codes), -1)  # codes that are no class
    class_of[selection.choice.classes] = np.arange(len(selection.choice.classes))
    class_index = class_of[code]
    stems = [frames.stems[number] for number in frame.tolist()]
    folder, label_folder = frames.folder[frame], frames.pill_folder[pills]
    table: dict[str, Any] = {
        "image_path": _paths(frames, folder, stems),
        "label_path": _paths(frames, label_folder, stems),
        "image_type": _named(("combination", "single"), frames.single[frame]),
        "mapping_code": _named(frames.codes, code),
        "class_index": class_index,
        "known": class_index >= 0,
        "group_id": _named(frames.groups, frames.group[frame]),
        "part": _named([one.part for one in frames.folders], folder),
        "shard": _named([one.shard for one in frames.folders], folder),
    }
    for name in ("edi_codes", "drug_name"):
        texts = [getattr(one, name) for one in selection.drugs]
        table[name] = _named(texts, selection.drug[pills])
    table |= {name: selection.boxes[pills, at] for at, name in enumerate(BOX_COLUMNS)}
    view = frames.view[frame]
    for column, name in VIEW.items():
        values = np.array([getattr(one, name) for one in frames.views], dtype=np.int64)
        table[column] = values[view]
    return {name: table[name] for name in manifest.COLUMNS}


def classes_of(selection: Selection, drugs: list[list[DrugFields]]) -> Rows:
    """The class table; its texts are the most frequent of each class (the first of `drugs`)."""
    frames, classes = selection.candidates, selection.choice.classes
    split = selection.choice.split[frames.pill_frame]
    pills = {
        side: np.bincount(frames.pill_code[split == side], minlength=len(frames.codes))[classes]
        for side in (TRAIN, VAL)
    }
    most_frequent = [of_class[0] for of_class in drugs]
    return {
        "class_index": np.arange(len(classes)),
        "mapping_code": _named(frames.codes, classes),
        **{name: [getattr(drug, name) for drug in most_frequent] for name in DrugFields._fields},
        "train_pills": pills[TRAIN],
        "val_pills": pills[VAL],
    }


def drugs_of_classes(selection: Selection) -> list[list[DrugFields]]:
    """The drugs in the train labels of each class, the most frequent first."""
    frames, count = selection.candidates, len(selection.drugs)
    in_train = selection.choice.split[frames.pill_frame] == TRAIN
    keys = frames.pill_code[in_train] * count + selection.drug[in_train]
    of_code: dict[int, list[tuple[int, DrugFields]]] = {}
    for key, labels in zip(*np.unique(keys, return_counts=True), strict=True):
        drug = selection.drugs[key % count]
        of_code.setdefault(int(key // count), []).append((-int(labels), drug))
    return [[drug for _, drug in sorted(of_code[code])] for code in selection.choice.classes]


def _named(names: Sequence[str], numbers: Ints | Bools) -> NDArray[np.object_]:
    """The names at these indices."""
    return np.array(names, dtype=object)[numbers.astype(np.int64)]


def _paths(frames: Candidates, numbers: Ints, stems: list[str]) -> list[str]:
    folders = map(frames.folders.__getitem__, numbers)
    return [folder.path_of(stem) for folder, stem in zip(folders, stems, strict=True)]
