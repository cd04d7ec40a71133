"""A set of labelled photos, whatever form it came in: boxes in pixels, split and capture group."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pillsnap.aihub.decoding import RefusalError
from pillsnap.dataset import pictures
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.manifest import UNGROUPED
from pillsnap.dataset.names import nfc
from pillsnap.dataset.pictures import PictureError, Size
from pillsnap.formats import coco, imagefolder, yolo
from pillsnap.formats.coco import Tree
from pillsnap.formats.groups import Groups
from pillsnap.formats.labelled import Edges, Labelled
from pillsnap.formats.listing import Files

FORMS: dict[str, Callable[[Path, Files, Findings], Iterator[Labelled]]] = {
    "yolo": yolo.read,
    "coco": coco.read,
    "imagefolder": imagefolder.read,
}
ANY_SIZE = 1 << 62  # validate.max_pixels is judged when a picture is decoded
OF_AIHUB = frozenset({"dl_mapping_code", "drug_N", "dl_name"})  # keys of an image in its labels
CLIPPED_PX = 1  # beyond the picture, by rounding


class BoxedPill(NamedTuple):
    """A labelled pill: name of the drug, box in integer pixels of the picture as it is read."""

    drug: str
    x: int
    y: int
    width: int
    height: int


class BoxedPhoto(NamedTuple):
    """A photo with at least one pill."""

    image_path: str  # relative to the root, as on disk, with /
    label_path: str
    part: str  # train | val | test; "" where the set is not divided
    group: str
    size: Size  # of the pixels that the reader gives; large JPEGs are scaled down
    size_in_file: Size
    bytes: int
    pills: tuple[BoxedPill, ...]


@dataclass
class BoxedPhotos:
    """The photos, sorted by path; what was irregular, and what was left out and why."""

    photos: list[BoxedPhoto] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    left_out: Findings = field(default_factory=Findings)


def read(
    root: Path, form: str, files: Files, progress: Callable[[int, int], None] = lambda *_: None
) -> BoxedPhotos:
    """Read the labels of a set and the headers of its pictures; DataError where it has not that
    form. A photo with a label that cannot be used is left out: it would show an unlabelled pill."""
    found = BoxedPhotos()
    groups = Groups(root)
    labelled = list(FORMS[form](root, files, found.findings))
    for done, one in enumerate(labelled, start=1):
        try:
            if one.fault:
                raise one.fault
            if one.pills:
                found.photos.append(_photo(root, one, groups, files, found.findings))
            else:
                found.left_out.add("background_photo", one.image_path)
        except RefusalError as error:
            found.left_out.add(error.reason, error.detail)
        progress(done, len(labelled))
    groups.unused(found.findings)
    found.photos.sort(key=lambda photo: (nfc(photo.image_path), photo.image_path))
    found.photos = list(_in_one_part(found.photos, found.left_out))
    return found


def detect(root: Path, files: Files) -> str:
    """yolo or coco if `root` holds such labels, else "": AI Hub's labels have COCO's form too."""
    if yolo.description(root, files):
        return "yolo"
    first: list[Tree] = next((tree["images"] for _, tree in coco.instances(root, files)), [])
    return "coco" if first and OF_AIHUB.isdisjoint(first[0]) else ""


def _photo(
    root: Path, one: Labelled, groups: Groups, files: Files, findings: Findings
) -> BoxedPhoto:
    path = one.image_path
    try:
        in_file, size = pictures.sizes(root / path, ANY_SIZE)
    except PictureError as error:
        raise RefusalError("photo_unusable", error.fact) from None
    if one.size and one.size != in_file:
        sides = f"{in_file} upright, the labels say {one.size} (width, height)"
        raise RefusalError("size_differs_from_labels", f"{path}: {sides}")
    whole = one.size or (1, 1)
    scale = size[0] / whole[0], size[1] / whole[1]
    pills: dict[BoxedPill, None] = {}
    for drug, edges in one.pills:
        pill = _pill(nfc(drug), edges, scale, size, f"{one.label_path}: {path}", findings)
        if pill in pills:
            findings.add("box_duplicated", f"{path}: {pill}")
        pills[pill] = None
    if len({pill[1:] for pill in pills}) < len(pills):
        raise RefusalError("drugs_share_a_box", path)
    group = groups.of(path)
    return BoxedPhoto(
        path, one.label_path, one.part, group, size, in_file, files[path], tuple(sorted(pills))
    )


def _pill(
    drug: str,
    edges: Edges,
    scale: tuple[float, float],
    size: Size,
    place: str,
    findings: Findings,
) -> BoxedPill:
    """A box in whole pixels, cut at the picture's border; RefusalError if its centre is outside."""
    x1, x2 = (round(edge * scale[0]) for edge in edges[0::2])
    y1, y2 = (round(edge * scale[1]) for edge in edges[1::2])
    left, right = (min(max(edge, 0), size[0]) for edge in (x1, x2))
    top, bottom = (min(max(edge, 0), size[1]) for edge in (y1, y2))
    if x2 <= x1 or y2 <= y1:
        raise RefusalError("box_without_area", f"{place}: {drug} {x1} {y1} {x2} {y2}")
    if not (0 <= x1 + x2 <= 2 * size[0] and 0 <= y1 + y2 <= 2 * size[1]):
        raise RefusalError("box_outside_frame", f"{place}: {drug} {x1} {y1} {x2} {y2} in {size}")
    cut = (left - x1, top - y1, x2 - right, y2 - bottom)
    if max(cut) > CLIPPED_PX:
        findings.add("box_cut_at_the_border", f"{place}: {drug} by {max(cut)} px")
    return BoxedPill(drug, left, top, right - left, bottom - top)


def _in_one_part(photos: Iterable[BoxedPhoto], left_out: Findings) -> Iterator[BoxedPhoto]:
    """Without the photos of val and test whose capture group is also in an earlier part."""
    photos = list(photos)
    parts = {part: {one.group for one in photos if one.part == part} for part in ("train", "val")}
    for one in photos:
        earlier = {"val": ["train"], "test": ["train", "val"]}.get(one.part, [])
        inside = [part for part in earlier if one.group in parts[part]]
        if inside:
            group = one.group.removeprefix(UNGROUPED)
            left_out.add("group_in_two_parts", f"{one.image_path}: {group} is in {inside[0]}")
        else:
            yield one
