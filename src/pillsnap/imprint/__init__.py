"""The imprint of a pill: read by an OCR model, compared with what the register records."""

import importlib.util

INSTALL = "pip install --no-deps rapidocr==3.10.0"


def is_installed() -> bool:
    """Whether the OCR models of the package `rapidocr` are there."""
    return importlib.util.find_spec("rapidocr") is not None
