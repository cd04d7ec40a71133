"""What validate hands on has the columns docs/architecture.md promises."""

from pathlib import Path

from pillsnap.dataset import crops
from pillsnap.validation import outputs

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def promised(out: str) -> str:
    """The row of the table of files that describes an out."""
    [row] = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if out in line]
    return row


def test_crops_have_the_documented_columns() -> None:
    assert f"`{', '.join(crops.SCHEMA.names)}`" in promised("/crops/{train,val,test}.arrow")


def test_frames_have_the_documented_columns() -> None:
    row = promised("/frames/{val,test}.arrow")
    assert f"`{', '.join(outputs.FRAME_SCHEMA.names)}`" in row
    assert f"`{{{', '.join(outputs.PILL_COLUMNS)}}}`" in row
