"""Applies corrections to the chosen photos. Split and classes stay as they were chosen."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np

from pillsnap.aihub.labels import DrugFields
from pillsnap.aihub.reading import UNREAD
from pillsnap.arrays import Ints
from pillsnap.dataset import source
from pillsnap.manifest import corrections
from pillsnap.manifest.build import Selection
from pillsnap.manifest.candidates import Candidates
from pillsnap.manifest.choice import UNUSED
from pillsnap.manifest.corrections import ADDED, Correction, PhotoPill

UNUSED_PHOTO = "correction_of_unused_photo"


def correct(selection: Selection, rows: Sequence[Correction], root: Path) -> Selection:
    """The selection after all rows, with their count by action.

    A row of a photo that exists and is not used at this scale is a finding. DataError where a
    photo does not exist, or a row fits no label.
    """
    of_photo: dict[str, list[Correction]] = defaultdict(list)
    for row in rows:
        of_photo[row.image_path].append(row)
    frames = selection.candidates
    used = _used(frames, selection.choice.split, of_photo.keys())
    unused = [path for path in of_photo if path not in used]
    found = source.statuses([f"{root}/{path}" for path in unused])
    for path, status in zip(unused, found, strict=True):
        if isinstance(status, OSError):
            of_photo[path][0].refuse(f"there is no photo {path} in {root}.")
        selection.findings.add_all(UNUSED_PHOTO, (row.place for row in of_photo[path]))
    changed = {
        frame: _pills(selection, frame, of_photo[path])
        for path, frame in sorted(used.items(), key=lambda item: item[1])
    }
    actions = Counter(row.action for path in used for row in of_photo[path])
    after = _rebuilt(selection, changed) if changed else selection
    counts = {"rows": len(rows), "used": dict(sorted(actions.items()))}
    return replace(after, corrections=counts)


def _used(frames: Candidates, split: Ints, paths: Iterable[str]) -> dict[str, int]:
    """Number of each of these photos that is in a split."""
    wanted = set(paths)
    stems = {PurePosixPath(path).stem for path in wanted}
    found = {}
    for frame in np.flatnonzero(split != UNUSED).tolist():
        if frames.stems[frame] in stems and (path := frames.photo_path(frame)) in wanted:
            found[path] = frame
    return found


def _pills(selection: Selection, frame: int, rows: Sequence[Correction]) -> list[PhotoPill]:
    """The pills of a photo after its corrections."""
    frames, box = selection.candidates, selection.boxes
    numbers = range(*np.searchsorted(frames.pill_frame, [frame, frame + 1]).tolist())
    pills = [
        PhotoPill(frames.codes[frames.pill_code[at]], tuple(box[at, :4].tolist()), at)
        for at in numbers
    ]
    width, height = box[numbers[0], 4:].tolist()
    for row in rows:
        pills = corrections.apply(pills, (width, height), row)
    return pills


def _rebuilt(selection: Selection, changed: dict[int, list[PhotoPill]]) -> Selection:
    """The selection with other pills in some photos."""
    frames = selection.candidates
    codes, drugs = list(frames.codes), list(selection.drugs)
    number_of = {code: number for number, code in enumerate(codes)}
    rows = []  # frame, code, folder, drug, box and size of the photo
    for frame, pills in changed.items():
        first, stop = np.searchsorted(frames.pill_frame, [frame, frame + 1]).tolist()
        for pill in pills:
            code = number_of.setdefault(pill.code, len(number_of))
            label = pill.number
            if label == ADDED:  # the label file of that code, if there is one, or the first
                label = first + int(np.argmax(frames.pill_code[first:stop] == code))
            if code == frames.pill_code[label]:
                drug = int(selection.drug[label])
            else:
                drug = _drug(selection, code, pill.code, drugs)
            size = selection.boxes[first, 4:].tolist()
            rows.append((frame, code, frames.pill_folder[label], drug, *pill.box, *size))
    new = np.array(rows, dtype=np.int64).reshape(-1, 10)
    kept = ~np.isin(frames.pill_frame, list(changed))
    of_frame = np.concatenate([frames.pill_frame[kept], new[:, 0]])
    order = np.argsort(of_frame, kind="stable")

    def joined(old: Ints, column: Ints) -> Ints:
        return np.concatenate([old[kept], column.astype(old.dtype)])[order]

    candidates = replace(
        frames,
        codes=list(number_of),
        pill_frame=of_frame[order],
        pill_code=joined(frames.pill_code, new[:, 1]),
        pill_folder=joined(frames.pill_folder, new[:, 2]),
    )
    return replace(
        selection,
        candidates=candidates,
        drug=joined(selection.drug, new[:, 3]),
        drugs=drugs,
        boxes=np.concatenate([selection.boxes[kept], new[:, 4:].astype(np.int32)])[order],
    )


def _drug(selection: Selection, code: int, name: str, drugs: list[DrugFields]) -> int:
    """Number in `drugs` of the most frequent drug of a code; a new one where no label has it."""
    has_code = (selection.candidates.pill_code == code) & (selection.drug != UNREAD)
    if has_code.any():
        return int(np.bincount(selection.drug[has_code]).argmax())
    unseen = DrugFields("", unquote(name), *[""] * 6)
    if unseen not in drugs:
        drugs.append(unseen)
    return drugs.index(unseen)
