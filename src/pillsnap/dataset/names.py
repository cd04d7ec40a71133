"""AI Hub's file names: K-codes and the view of a photo. data/README.md describes them."""

import re
import unicodedata
from dataclasses import dataclass

CODE = re.compile(r"K-[0-9]{6}")
NAME_CODES = re.compile(r"K-[0-9]{6}(?:-[0-9]{6})*")
VIEW = re.compile(r"([0-9])_([0-9])_([0-9])_([0-9])_([0-9]{2})_([0-9]{3})_([0-9]{3})")


@dataclass(frozen=True, slots=True)
class View:
    """How a photo was taken: the fields of its file name as integers."""

    state: int
    back: int
    direction: int
    light: int
    latitude: int  # degrees
    longitude: int  # degrees
    size: int

    def __str__(self) -> str:
        """The part of the file name that `parse_view` reads."""
        angles = f"{self.latitude:02}_{self.longitude:03}_{self.size:03}"
        return f"{self.state}_{self.back}_{self.direction}_{self.light}_{angles}"


def nfc(text: str) -> str:
    """`text` in Unicode NFC: file names on macOS are decomposed, labels are composed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def parse_view(text: str) -> View | None:
    """`0_2_0_1_90_300_200` -> View; None for any other text."""
    found = VIEW.fullmatch(text)
    return View(*map(int, found.groups())) if found else None


def parse_codes(text: str) -> tuple[str, ...] | None:
    """`K-000114` or `K-015710-016232-025367` -> K-codes; None for any other text."""
    if not NAME_CODES.fullmatch(text):
        return None
    return tuple(f"K-{digits}" for digits in text.removeprefix("K-").split("-"))
