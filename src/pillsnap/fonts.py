"""Where the Korean fonts are: NanumGothic out of koreanize-matplotlib (SIL Open Font License)."""

from importlib.util import find_spec
from pathlib import Path

from pillsnap.errors import MachineError


def korean_font_path(bold: bool = False) -> Path:
    """Path of NanumGothic; the package is not imported, as that changes matplotlib's settings."""
    spec = find_spec("koreanize_matplotlib")
    if spec is None or spec.origin is None:
        raise MachineError(
            "The package koreanize-matplotlib, which brings the Korean font, is not installed.",
            "Install the requirements: pip install -r requirements.txt",
        )
    name = "NanumGothicBold.ttf" if bold else "NanumGothic.ttf"
    return Path(spec.origin).parent / "fonts" / name
