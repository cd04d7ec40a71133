"""What to set where a tree is too small: all shortages are solved together."""

from dataclasses import fields

from pillsnap.arrays import Bools
from pillsnap.manifest.choice import Chooser
from pillsnap.manifest.classes import ShortageError, UnknownPills

UNKNOWN_PILLS = [field.name for field in fields(UnknownPills)]  # keys of build_manifest
TOO_FEW = "with these photos no settings give two classes in train and val."
STEPS = 60  # shortages solved one after the other before giving up


def cure(chooser: Chooser, usable: Bools, scale: str) -> str:
    """A command with settings that `chooser` can meet with the usable photos, if there are any."""
    changes = solve(chooser, usable)
    if not changes:
        return f"Bring more data: {TOO_FEW}"
    options = "".join(
        f" -S {'build_manifest' if name in UNKNOWN_PILLS else f'scales.{scale}'}.{name}={value}"
        for name, value in sorted(changes.items())
    )
    return (
        "Bring more data, or set what these photos suffice for, in params.yaml or for one run:\n"
        f"  dvc exp run -S scale={scale}{options}"
    )


def solve(chooser: Chooser, usable: Bools) -> dict[str, float]:
    """Settings to change so that the choice succeeds; {} where none was found."""
    no_unknown: dict[str, float] = dict.fromkeys(UNKNOWN_PILLS, 0)
    for changes in ({}, no_unknown, {**no_unknown, **chooser.combinations_alone(usable)}):
        for _ in range(STEPS):
            try:
                chooser.changed(changes).choose(usable)
                return changes
            except ShortageError as shortage:
                if not shortage.change or shortage.change.get("samples") == 0:
                    break
                changes.update(shortage.change)
    return {}
