"""The register on disk: one sealed JSON file, replaced as a whole or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.errors import DataError

PATH = Path("data/register/register.json")
KEPT_SHARE = 0.9  # of the drugs of the last version, in a new one that replaces it
MAKE = "Make it again: pillsnap register import FILE"


@dataclass(frozen=True)
class Drug:
    """One drug: "" and () where nothing is recorded."""

    item_seq: str  # number of the item in the ministry's tables
    code: str  # K-code
    drug_name: str
    edi_codes: tuple[str, ...]
    shape: str
    colours: tuple[str, ...]
    print_front: str
    print_back: str


@dataclass(frozen=True)
class Register:
    """All drugs, sorted by name, and where they are from."""

    source: str  # file name
    source_sha256: str
    version: str  # date of the source, ISO
    checked: str  # date of the import, ISO
    drugs: tuple[Drug, ...]


def load(path: Path) -> Register:
    """Read a register; DataError if a bit of it differs from what was written."""
    return files.typed(files.read_sealed_json(path, MAKE), Register, path, MAKE)


def current(classes_path: Path) -> Register:
    """The imported register, or else the class table of the scale."""
    return load(PATH) if PATH.exists() else of_classes(classes_path)


def of_classes(path: Path) -> Register:
    """The classes of a scale as a register."""
    table = manifest.read_classes(path)
    drugs = [
        Drug(
            row["item_seq"], row["mapping_code"], row["drug_name"], split(row["edi_codes"], "|"),
            row["drug_shape"], colours_of(row["color_class1"], row["color_class2"]),
            row["print_front"], row["print_back"],
        )
        for row in table.to_dict("records")
    ]  # fmt: skip
    day = date.fromtimestamp(path.stat().st_mtime).isoformat()
    return Register(path.name, manifest.class_table_hash(path), day, day, in_order(drugs))


def last() -> Register | None:
    """The imported register; None if there is none, or a damaged one, which an import replaces."""
    try:
        return load(PATH)
    except DataError:
        return None


def replace(new: Register, any_size: bool) -> Register:
    """Write a register in place of the last one. DataError, and nothing changes, if it holds no
    drug, or (unless `any_size`) fewer than KEPT_SHARE of the last one's."""
    if not new.drugs:
        raise DataError(f"{new.source} holds no drug.", "Import the whole table.")
    if old := last():
        before = {drug.item_seq for drug in old.drugs}
        kept = len(before & {drug.item_seq for drug in new.drugs})
        if kept < KEPT_SHARE * len(before) and not any_size:
            raise DataError(
                f"{new.source} lacks {len(before) - kept} of the {len(before)} drugs of {PATH} "
                f"(version {old.version}); nothing was changed.",
                "Import the whole table, or add --any-size if this is intended.",
            )
    PATH.parent.mkdir(parents=True, exist_ok=True)
    files.write_sealed_json(PATH, asdict(new))
    return new


def in_order(drugs: Iterable[Drug]) -> tuple[Drug, ...]:
    """Drugs sorted by name, K-code and item number."""
    return tuple(sorted(drugs, key=lambda drug: (drug.drug_name, drug.code, drug.item_seq)))


def split(text: str, separator: str = ",") -> tuple[str, ...]:
    """The parts of a list in one field."""
    return tuple(part for part in map(str.strip, text.split(separator)) if part)


def colours_of(*fields: str) -> tuple[str, ...]:
    """The colours of both halves, each once: "노랑, 투명" and "노랑|하양" are lists."""
    parts: Sequence[str] = [part for field in fields for part in split(field.replace("|", ","))]
    return tuple(dict.fromkeys(parts))
