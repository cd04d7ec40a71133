"""Run `pillsnap` where packages cannot be imported, those of `pillsnap serve` imported too.

    python without_torch.py PACKAGES_WITH_COMMAS ARGUMENTS_OF_PILLSNAP...

Prints JSON: what the command printed, its exit code, the distributions that were imported from.
"""

import contextlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata


class Refusing:
    """An import hook: modules of these distributions are not installed."""

    def __init__(self, forbidden: set[str], owners: Mapping[str, Sequence[str]]) -> None:
        self._roots = {root for root, names in owners.items() if set(names) <= forbidden}

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in self._roots:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    forbidden, *arguments = sys.argv[1:]
    owners = metadata.packages_distributions()
    sys.meta_path.insert(0, Refusing(set(forbidden.split(",")), owners))
    from pillsnap import cli
    from pillsnap.service import command  # what `pillsnap serve` needs

    assert command.serve
    sys.argv[1:] = arguments
    printed, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(printed):
            cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    roots = {name.partition(".")[0] for name in sys.modules}
    used = sorted({owner for root in roots for owner in owners.get(root, ())})
    print(json.dumps({"printed": printed.getvalue(), "code": code, "used": used}))


if __name__ == "__main__":
    main()
