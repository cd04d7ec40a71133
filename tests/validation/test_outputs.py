"""The outputs of validate have the columns that docs/architecture.md documents."""

from pathlib import Path

from pillsnap.dataset import crops
from pillsnap.validation import outputs

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def documented(out: str) -> str:
    """The row of the table of files that describes an out."""
    [row] = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if out in line]
    return row


def test_crops_have_the_documented_columns() -> None:
    assert f"`{', '.join(crops.SCHEMA.names)}`" in documented("/crops/{train,val,test}.arrow")


def test_frames_have_the_documented_columns() -> None:
    row = documented("/frames/{val,test}.arrow")
    assert f"`{', '.join(outputs.FRAME_SCHEMA.names)}`" in row
    assert f"`{{{', '.join(outputs.PILL_COLUMNS)}}}`" in row
