"""How often the 95 % intervals of evaluation.json contain the truth, on drawn sets.

Run: python benchmarks/coverage.py [sets]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make.drawn_sets import KINDS, coverage

VALUES = (0.9, 0.965, 0.99)


def main() -> None:
    """Print a row for each kind of interval and number of groups."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"coverage in {sets} sets\n{'interval':18} groups", *(f"{v:7}" for v in VALUES))
    for kind in KINDS:
        for groups in (12, 35, 100):
            found = [coverage(kind, groups, value, sets) for value in VALUES]
            print(f"{kind:18} {groups:6}", *(f"{share:7.3f}" for share in found), flush=True)


if __name__ == "__main__":
    main()
