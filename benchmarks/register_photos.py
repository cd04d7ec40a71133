"""How well imprints are read in photos of a public register, and how often it finds the drug.

    python benchmarks/register_photos.py PHOTOS.json FOLDER REGISTER.json [--photos 100] [--seed 1]

For the drug appearance set of Taiwan's FDA (open data 42): each photo shows front and back of a
drug beside a ruler; the table gives both imprints without saying which is which: the order with
fewer letters wrong counts. Photos without two regions that may be the pills are left out; others
are cut wrongly, which `--sheet` shows. `--legible` takes only sides that a person could read, from
{photo: [text of the left or upper side, of the other; "" if illegible]}.

Prints how often a reading is exact, one letter off or worse (look-alike letters are equal, as in
benchmarks/imprints.py), by the pill's longer side in px; then how often the drug is among the first
five of a search by a text with shape and colour of its row: the surer side's reading, both sides'
readings joined, and that side's imprint as recorded.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from imprints import distance
from pill_pairs import Box, pills

from pillsnap.arrays import Pixels
from pillsnap.evaluation import intervals
from pillsnap.imprint import spelling
from pillsnap.imprint.reader import SURE_ABOVE, Reader, Reading
from pillsnap.prediction.imprints import cut
from pillsnap.register.search import ZONES, Index, Query
from pillsnap.register.store import Drug, in_order

SHAPES = {
    "圓形": "원형", "膠囊": "장방형", "橢圓形": "타원형", "四邊形": "사각형", "三角形": "삼각형",
    "五邊形": "오각형", "六邊形": "육각형", "八邊形": "팔각형",
}  # fmt: skip
COLOURS = {
    "白": "하양", "黃": "노랑", "橘": "주황", "粉": "분홍", "紅": "빨강", "棕": "갈색",
    "綠": "초록", "藍綠": "청록", "藍": "파랑", "紫": "보라", "灰": "회색",
    "黑": "검정", "透明": "투명",
}  # fmt: skip
SIZES_PX = ((0, 60), (60, 100), (100, 9999), (0, 9999))
FIRST = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One side of a pill, and what was read on it."""

    row: Row
    size_px: int
    reading: Reading
    imprint: str  # recorded of this side

    def result(self) -> str:
        """How right the reading is; one letter off needs a second one that is right."""
        letters = wrong(self.reading.text, self.imprint)
        near = "one off" if letters == 1 and len(self.imprint) > 1 else "worse"
        return ("exact" if not letters else near) if self.reading.text else "nothing"

    def score(self) -> float:
        """How sure the reading is, as the reader ranks its own."""
        return len(self.reading.text) * (self.reading.confidence - SURE_ABOVE)


def imprints(row: Row) -> list[str]:
    """Both recorded imprints; of a pack of several pills, the first one's."""
    return [spelling.plain((row[mark] or "").split(";;;")[0]) for mark in ("mark1", "mark2")]


def wrong(text: str, imprint: str) -> int:
    """Letters in which they differ."""
    return distance(spelling.look_alike(text), spelling.look_alike(imprint))


def sides_of(row: Row, boxes: list[Box], read: list[Reading], seen: list[str]) -> list[Side]:
    """Both sides, the surer first, the imprints in the order that fits what a person saw, or else
    what was read; of sides that a person looked at, the ones they could read as recorded."""
    texts = seen or [each.text for each in read]
    one, two = imprints(row)
    order = min(([one, two], [two, one]), key=lambda way: sum(map(wrong, texts, way)))
    sides = [
        Side(row, max(box[2:]), reading, imprint)
        for box, reading, imprint, text in zip(boxes, read, order, texts, strict=False)
        if not seen or (text and imprint and wrong(text, imprint) <= 1)
    ]
    return sorted(sides, key=Side.score, reverse=True)


def drug(row: Row) -> Drug:
    """A row of the table in the register's words."""
    colours = tuple(COLOURS[each] for each in row["color"] or () if each in COLOURS)
    shape = SHAPES.get((row["shape"] or [""])[0], "")
    return Drug(row["id"], "", row["zh"] or "", (), shape, colours, *imprints(row))


def tile(crop: Pixels, text: str) -> Pixels:
    """A crop enlarged, above a text."""
    scale = 200 / max(crop.shape[:2])
    large = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    down, across = 220 - len(large), 200 - large.shape[1]
    shown = cv2.copyMakeBorder(large[:, :, ::-1], 0, down, 0, across, cv2.BORDER_CONSTANT)
    return cv2.putText(shown, text, (2, 215), cv2.FONT_HERSHEY_PLAIN, 1, (255, 255, 255))


def share(right: list[bool], sides: list[Side]) -> str:
    """A share with its interval by drug."""
    interval = intervals.ratio(
        np.array(right), np.ones(len(right)), [each.row["id"] for each in sides]
    )
    return f"{sum(right)} of {len(right)} ({np.mean(right):.3f}; {interval})"


def among_first(index: Index, side: Side, text: str) -> bool:
    """Whether a search finds the drug early, zone by zone."""
    asked = drug(side.row)
    zones = index.search(Query(text, asked.shape, (asked.colours or ("",))[0]))
    found = [each.item_seq for zone in ZONES for each in zones[zone]]
    return asked.item_seq in found[:FIRST]


def main() -> None:
    """Read, compare, search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("photos_json", "folder", "register_json"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="picture file, outside the repository")
    parser.add_argument("--legible", type=Path)
    asked = parser.parse_args()
    rows = json.loads(asked.photos_json.read_text(encoding="utf-8"))
    seen = json.loads(asked.legible.read_text(encoding="utf-8")) if asked.legible else {}
    order = np.random.default_rng(asked.seed).permutation(len(rows))[: asked.photos]
    chosen = [row for row in rows if row["photo"] in seen] if seen else [rows[at] for at in order]
    reader = Reader()
    by_drug: list[list[Side]] = []
    tiles: list[Pixels] = []
    for row in chosen:
        photo = cv2.imread(str(asked.folder / row["photo"]))[:, :, ::-1].copy()
        boxes = pills(photo)
        crops = [cut(photo, box) for box in boxes]
        read = reader.read(crops)
        by_drug += [sides_of(row, boxes, read, seen.get(row["photo"], []))] if boxes else []
        texts = [f"{'/'.join(imprints(row))}: {each.text}" for each in read]
        tiles += map(tile, crops, texts)
    if asked.sheet:
        lines = [np.hstack(tiles[at : at + 6]) for at in range(0, len(tiles) - 5, 6)]
        cv2.imwrite(str(asked.sheet), np.vstack(lines))
    print(f"{len(chosen)} photos, pills not found in {len(chosen) - len(by_drug)}")
    sides = [side for each in by_drug for side in each if side.imprint]
    for low, high in SIZES_PX:
        some = [side for side in sides if low <= side.size_px < high]
        counts = dict(Counter(side.result() for side in some))
        right = [side.result() in ("exact", "one off") for side in some]
        print(f"{low} to {high} px: {counts}, exact or one letter off {share(right, some)}")
    table = json.loads(asked.register_json.read_text(encoding="utf-8"))
    index = Index(in_order(map(drug, table)))
    for name, good in (("all read", ("exact", "one off", "worse")), ("near", ("exact", "one off"))):
        enough = [each for each in by_drug if each and len(each[0].reading.text) >= 2]
        drugs = [each for each in enough if each[0].result() in good]
        first = [each[0] for each in drugs]
        queries = {
            "surer side": [side.reading.text for side in first],
            "both sides": ["".join(side.reading.text for side in each) for each in drugs],
            "recorded": [side.imprint for side in first],
        }
        for by, texts_of in queries.items():
            right = [among_first(index, *each) for each in zip(first, texts_of, strict=True)]
            print(f"{name}, first {FIRST} by {by}: {share(right, first)}")


if __name__ == "__main__":
    main()
