"""K-codes, AI Hub's file names, and names of drugs as codes. data/README.md describes them."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

CODE = re.compile(r"K-[0-9]{6}")
NAME_CODES = re.compile(r"K-[0-9]{6}(?:-[0-9]{6})*")
VIEW = re.compile(r"([0-9])_([0-9])_([0-9])_([0-9])_([0-9]{2})_([0-9]{3})_([0-9]{3})")
UNSAFE = re.compile(r'[%/\\|,"]|^[.\s]|[.\s]$|^K(?=-)')  # in a path, a CSV file, or a K-code only
MEANINGS: dict[str, dict[Any, str]] = {  # of the values of a View; source: the AI Hub data sheet
    "light": {0: "bulb", 1: "daylight", 2: "white"},
    "direction": {0: "front", 1: "back"},
    "back": {2: "light grey"},
}


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


def code_of(drug: str) -> str:
    """The mapping_code of a drug that has a name only: a K-code stays as it is; in other names
    characters that a code may not have are percent-encoded, so `unquote` gives the name back."""
    text = nfc(drug)
    if CODE.fullmatch(text):
        return text
    encoded = UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return "".join(letter if letter.isprintable() else quote(letter, safe="") for letter in encoded)


def is_code(text: str) -> bool:
    """Whether `text` can be a mapping_code: a K-code, or the name of a drug by `code_of`."""
    return bool(text) and code_of(unquote(text)) == text
