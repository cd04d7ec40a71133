"""Registers out of the ministry's 낱알식별 table (CSV or Excel, by its column names)."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pillsnap import files
from pillsnap.errors import DataError, reason_of
from pillsnap.register.store import Drug, Register, colours_of, in_order, split

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {  # field: the column's name in the file, and in the ministry's API; optional at the end
    "item_seq": ("품목일련번호", "ITEM_SEQ"),
    "drug_name": ("품목명", "ITEM_NAME"),
    "shape": ("의약품제형", "DRUG_SHAPE"),
    "colour_front": ("색상앞", "COLOR_CLASS1"),
    "colour_back": ("색상뒤", "COLOR_CLASS2"),
    "print_front": ("표시앞", "PRINT_FRONT"),
    "print_back": ("표시뒤", "PRINT_BACK"),
    "edi_codes": ("보험코드", "EDI_CODE"),
    "changed": ("변경일자", "CHANGE_DATE"),
}
OPTIONAL = ("edi_codes", "changed")
CURE = "Download the 낱알식별 table again (CSV or .xlsx), and import that file unchanged."


def of_table(path: Path, codes: Mapping[str, str], today: date) -> Register:
    """The rows of a table; `codes`: K-code by item number; the version is the newest date in it, or
    else the file's. DataError if a column, a number or a name is missing, or entries differ."""
    content = files.read_bytes(path, CURE)
    table = _columns(_table(path, content), path)
    drugs: dict[str, Drug] = {}
    for at, row in enumerate(table.to_dict("records"), start=2):
        drug = Drug(
            row["item_seq"], codes.get(row["item_seq"], ""), row["drug_name"],
            split(row["edi_codes"].replace("|", ",")), row["shape"],
            colours_of(row["colour_front"], row["colour_back"]),
            row["print_front"], row["print_back"],
        )  # fmt: skip
        if not drug.item_seq or not drug.drug_name:
            raise DataError(f"{path}, row {at}: an item without number or name.", CURE)
        if drugs.setdefault(drug.item_seq, drug) != drug:
            raise DataError(f"{path}, row {at}: item {drug.item_seq} has two entries.", CURE)
    return Register(
        path.name, files.sha256_of(path), _newest(table["changed"], path), today.isoformat(),
        in_order(drugs.values()),
    )  # fmt: skip


def _table(path: Path, content: bytes) -> "pd.DataFrame":
    import io

    import pandas as pd

    try:
        if path.suffix.lower() == ".xlsx":
            return pd.read_excel(
                io.BytesIO(content), engine="openpyxl", dtype=str, keep_default_na=False
            )
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp949")
        return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except Exception as problem:  # parsers of broken files raise nearly anything
        raise DataError(f"{path} cannot be read: {reason_of(problem)}", CURE) from None


def _columns(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The table with our column names; blank columns for the optional ones that are missing."""
    found: dict[str, pd.Series[str] | str] = {}
    for field, names in COLUMNS.items():
        name = next((name for name in names if name in table.columns), None)
        if name is not None:
            found[field] = table[name].fillna("").str.strip().replace("-", "")
        elif field in OPTIONAL:
            found[field] = ""
        else:
            raise DataError(f"{path} has no column {' or '.join(names)}.", CURE)
    return table.assign(**found)[list(COLUMNS)]


def _newest(dates: "pd.Series[str]", path: Path) -> str:
    """The newest of dates written YYYYMMDD or YYYY-MM-DD."""
    digits = dates.str.replace(r"\D", "", regex=True)
    days = digits[digits.str.fullmatch(r"(19|20)\d{6}")]
    if not len(days):
        return date.fromtimestamp(path.stat().st_mtime).isoformat()
    return datetime.strptime(days.max(), "%Y%m%d").date().isoformat()
