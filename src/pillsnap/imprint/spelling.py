"""Imprints as text that can be compared."""

import re
import unicodedata

# A logo, a score line: not letters of a pill
MARKS = re.compile(r"마크|십자분할선|분할선|로고|LOGO")
LOOK_ALIKE = str.maketrans("OIL7SZB", "0111528")  # 0/O, 1/I/L/7, 5/S, 2/Z, 8/B
TURNED = dict(zip("01258CHNX69MW", "01258CHNX96WM", strict=True))  # of look-alikes


def plain(text: str) -> str:
    """Letters and digits only, in capitals: "마크 ab-1" is "AB1"."""
    letters = MARKS.sub("", unicodedata.normalize("NFKC", text).upper())
    return "".join(letter for letter in letters if letter.isalnum())


def look_alike(text: str) -> str:
    """A plain imprint with one letter for all that look like it: "B0IL" is "8011"."""
    return text.translate(LOOK_ALIKE)


def turned(text: str) -> str:
    """`look_alike` of an imprint read upside down; "" if a letter has no reading that way."""
    letters = look_alike(text)[::-1]
    return "".join(map(TURNED.__getitem__, letters)) if TURNED.keys() >= set(letters) else ""
