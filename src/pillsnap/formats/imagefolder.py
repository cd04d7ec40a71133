"""A folder of pictures per drug, also inside train/, val/ and test/: each picture is one pill, its
box the whole picture."""

from collections.abc import Iterator
from pathlib import Path

from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError
from pillsnap.formats import listing
from pillsnap.formats.labelled import Labelled
from pillsnap.formats.listing import Files

WHOLE = (0.0, 0.0, 1.0, 1.0)


def read(root: Path, found: Files, findings: Findings) -> Iterator[Labelled]:
    """A description of every picture; those in no drug's folder become findings."""
    paths = [path.split("/") for path in listing.pictures(found)]
    divided = any(len(parts) > 2 and parts[0].lower() in listing.PARTS for parts in paths)
    any_used = False
    for parts in paths:
        part = listing.PARTS.get(parts[0].lower(), "") if divided else ""
        inner = parts[1:] if part else parts
        if len(inner) < 2 or (divided and not part):
            findings.add("photo_outside_a_drug_folder", "/".join(parts))
            continue
        path = "/".join(parts)
        any_used = True
        yield Labelled(path, path, part, [(inner[0], WHOLE)])
    if not any_used:
        raise DataError(
            f"{root} holds no folder of pictures per drug.",
            "Put the pictures of each drug into a folder named by it: root/drug name/1.jpg.",
        )
