"""Damages what the product reads, and counts what becomes of it.

    python benchmarks/damage.py
    python benchmarks/damage.py --only labels "pictures, predict" --share 0.01 --seed 7

A case is one damaged file, line, picture or request body. It must be refused (UserError), or read
as if it were whole; where nothing tells damage from content (a JPEG, a label) it may be read. Bad:
silent (other content is used), failed (another exception), slow (over 1 s of processor
time), large (over 200 MB more memory).

Models and bundle are those of a drawn project that was not trained. Prints Markdown and, for each
bad case, the input and number that make it again: --only INPUT --first NUMBER --count 1.
"""

import argparse
import faulthandler
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import chdir
from pathlib import Path
from typing import Any

from damage_models import model_targets
from damage_targets import REFUSED, Target, picture_targets, text_targets

from pillsnap.errors import UserError

SLOW_S, HANG_S, LARGE_MB = 1.0, 60, 200.0


def memory_mb(name: str) -> float:
    """VmRSS or VmHWM of this process."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def outcome_of(target: Target, case: Any) -> str:
    """What became of a case."""
    try:
        read = target.use(case)
    except UserError:
        return "refused"
    except Exception:
        traceback.print_exc(limit=-6)
        return "failed"
    if read is REFUSED:
        return "refused"
    if target.whole is None:
        return "read"
    return "whole" if read == target.whole else "silent"


def run(name: str, target: Target, numbers: range, seed: int) -> bool:
    """Try some cases of a target and print its row; whether none was bad."""
    counts, longest_s, most_mb, bad = Counter[str](), 0.0, 0.0, False
    for number in numbers:
        case = target.make(random.Random(f"{seed} {name} {number}"))
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS
        before_mb, begun_s = memory_mb("VmRSS"), time.process_time()
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        outcome = outcome_of(target, case)
        faulthandler.cancel_dump_traceback_later()
        seconds, grown_mb = time.process_time() - begun_s, memory_mb("VmHWM") - before_mb
        counts[outcome] += 1
        longest_s, most_mb = max(longest_s, seconds), max(most_mb, grown_mb)
        if outcome in ("failed", "silent") or seconds > SLOW_S or grown_mb > LARGE_MB:
            bad, cost = True, f"{seconds:.2f} s, {grown_mb:.0f} MB"
            print(f"{name!r} {number}: {outcome}, {cost}", file=sys.stderr)
    columns = [counts[key] for key in ("refused", "whole", "read", "silent", "failed")]
    row = [name, len(numbers), *columns, f"{longest_s:.2f}", f"{most_mb:.0f}"]
    print("|", " | ".join(map(str, row)), "|", flush=True)
    return not bad


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="INPUT", help="names in the table")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, help="cases of each target")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        targets = text_targets() | picture_targets()
        if not asked.only or set(asked.only) - targets.keys():
            targets |= model_targets()
        print("| input | cases | refused | whole | read | silent | failed | slowest, s | + MB |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        sound = True
        for name in asked.only or targets:
            count = asked.count or max(1, round(targets[name].count * asked.share))
            cases = range(asked.first, asked.first + count)
            sound &= run(name, targets[name], cases, asked.seed)
    sys.exit(not sound)


if __name__ == "__main__":
    main()
