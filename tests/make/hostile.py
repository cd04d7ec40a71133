"""A pickle that runs code when it is loaded."""

import os
from pathlib import Path


class Hostile:
    """Makes the folder `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
