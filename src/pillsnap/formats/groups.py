"""Capture groups of photos: those of one group look alike and never go to two splits."""

import csv
import io
import re
from pathlib import Path, PurePosixPath

from pillsnap import files
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.manifest import UNGROUPED
from pillsnap.dataset.names import nfc
from pillsnap.errors import DataError

FILE = "groups.csv"
COLUMNS = ("image", "group")
# Roboflow's exports of one picture, augmented or not: IMG_1_jpg.rf.<hash>.jpg
VERSION = re.compile(r"\.rf\.[0-9A-Za-z_-]{8,}$")


class Groups:
    """The groups that groups.csv in the root names, by path or file name of a picture."""

    def __init__(self, root: Path) -> None:
        self._named: dict[str, str] = {}
        self._used: set[str] = set()
        path = root / FILE
        if not path.is_file():
            return
        cure = f"Write {FILE} with the columns `image,group`: a picture's path, any text."
        text = files.read_bytes(path, cure).decode("utf-8-sig", "replace")
        rows = csv.DictReader(io.StringIO(text))
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise DataError(f"{path} lacks the columns {','.join(COLUMNS)}.", cure)
        for row in rows:
            if row["image"] and row["group"]:
                self._named[nfc(row["image"].strip())] = nfc(row["group"].strip())

    def of(self, image_path: str) -> str:
        """The group of a picture; UNGROUPED and its name without Roboflow's hash if none is given.

        Versions of one picture that Roboflow made are one group.
        """
        for key in (nfc(image_path), nfc(PurePosixPath(image_path).name)):
            if key in self._named:
                self._used.add(key)
                return self._named[key]
        stem = PurePosixPath(image_path).stem
        version = VERSION.search(stem)
        return UNGROUPED + nfc(stem[: version.start()] if version else image_path)

    def unused(self, findings: Findings) -> None:
        """Report the pictures of groups.csv that are not in the set."""
        findings.add_all("group_of_no_photo", sorted(self._named.keys() - self._used))
