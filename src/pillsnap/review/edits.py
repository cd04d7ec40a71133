"""The corrections that turn the labels of a photo into those that another tool has left."""

from collections import Counter
from collections.abc import Sequence

from pillsnap.manifest.corrections import Box, Correction, PhotoPill


def differences(
    image_path: str, before: Sequence[PhotoPill], after: Sequence[tuple[str, Box]], place: str
) -> list[Correction]:
    """Rows that `corrections.apply` turns `before` into `after` with, in this order: deletions,
    moves, other codes, additions. A pill that moves next to others of its code, or that gets
    another code and another box, is deleted and added."""
    gone = Counter(pill[:2] for pill in before)
    gone.subtract(Counter(after))
    new = list((-gone).elements())
    old = list((+gone).elements())
    codes = Counter(pill.code for pill in before)
    moves, recodes, deletions = [], [], []

    def row(action: str, code: str, new_code: str = "", box: Box = ()) -> Correction:
        return Correction(image_path, code, action, new_code, box, "", place)

    for code, box in old:
        same_code = [one for one in new if one[0] == code]
        same_box = [one for one in new if one[1] == box]
        if same_box:
            new.remove(same_box[0])
            recodes.append(row("recode", code, same_box[0][0], box))
        elif len(same_code) == 1 == codes[code]:
            new.remove(same_code[0])
            moves.append(row("move", code, box=same_code[0][1]))
        else:
            deletions.append(row("delete", code, box=box))
    return [*deletions, *moves, *recodes, *(row("add", "", code, box) for code, box in new)]
