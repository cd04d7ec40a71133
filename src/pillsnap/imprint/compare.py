"""What a pill reads against what is recorded of a drug: agrees, contradicts, or neither."""

from difflib import SequenceMatcher

from pillsnap.imprint import spelling

LEAST_LETTERS = 2  # one letter is misread too easily to decide by


def verdict(text: str, print_front: str, print_back: str) -> str:
    """`agrees` with at most one letter read wrongly, upside down included; `contradicts` if at
    least two letters were read and no two of them follow each other on the drug, and none is all
    that a side has (a logo beside it is often read as letters); else `unsure`."""
    ways, sides = _ways(text), _sides(print_front, print_back)
    if len(spelling.plain(text)) < LEAST_LETTERS or not sides:
        return "unsure"
    both = _joined(sides)
    if any(_fits(way, side) for way in ways for side in {*sides, *both}):
        return "agrees"
    if any(len(side) == 1 and side in way for way in ways for side in sides):
        return "unsure"
    matched = max(
        SequenceMatcher(None, way, side, False).find_longest_match().size
        for way in ways
        for side in both
    )
    return "unsure" if matched >= LEAST_LETTERS else "contradicts"


def spells(text: str, print_front: str, print_back: str) -> bool:
    """Whether three letters or more were read, and all are recorded, one after the other."""
    both = _joined(_sides(print_front, print_back))
    long = len(spelling.plain(text)) > LEAST_LETTERS
    return long and any(way in side for way in _ways(text) for side in both)


def _ways(text: str) -> list[str]:
    """What was read, and the same upside down if it can be."""
    read = spelling.plain(text)
    return [way for way in (spelling.look_alike(read), spelling.turned(read)) if way]


def _sides(print_front: str, print_back: str) -> list[str]:
    """The sides of a drug that have letters."""
    return [
        spelling.look_alike(side) for side in map(spelling.plain, (print_front, print_back)) if side
    ]


def _joined(sides: list[str]) -> set[str]:
    """Both sides as one text, in either order."""
    return {"".join(sides), "".join(sides[::-1])}


def _fits(way: str, side: str) -> bool:
    """Whether one is in the other, or they differ in one letter of at least three."""
    shorter, longer = sorted((way, side), key=len)
    if shorter in longer:
        return len(shorter) >= LEAST_LETTERS or way == side
    if len(shorter) <= LEAST_LETTERS or len(longer) - len(shorter) > 1:
        return False
    at = next(at for at in range(len(longer)) if longer[at] != shorter[at : at + 1])
    rest = shorter[at + (len(shorter) == len(longer)) :]
    return longer[at + 1 :] == rest
