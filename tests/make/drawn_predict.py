"""`pillsnap predict --json` as a program, with the drawn models; ends as predict does.

    python drawn_predict.py MAX_PIXELS PICTURES_OR_FOLDERS...

The last line on standard error: JSON, by how many megabytes each picture has raised the memory at
its highest, by path.
"""

import json
import re
import sys
from pathlib import Path

from make.drawn_models import recogniser
from pillsnap.prediction import output, predict
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.predict import Tally


def memory_mb(name: str) -> float:
    """VmRSS or VmHWM; unlike getrusage's maximum, free of what the program that started us used."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000


def main() -> int:
    max_pixels, *images = sys.argv[1:]
    loaded = Loaded(recogniser(), 4, int(max_pixels), "drawn", "demo", Path("none.json"))
    paths, tally, grown_mb = predict.expand(images), Tally(), {}
    # Each alone, so that its memory can be told from that of the others
    answers = (answer for path in paths for answer in _watched(loaded, path, tally, grown_mb))
    output.write("json", answers, sys.stdout)
    predict._report(tally)
    print(json.dumps(grown_mb), file=sys.stderr)
    return 1 if tally.refused else 0


def _watched(loaded: Loaded, path: Path, tally: Tally, grown_mb: dict[str, float]):
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS
    before_mb = memory_mb("VmRSS")
    yield from predict.recognise(loaded, [path], 2, None, None, tally)
    grown_mb[str(path)] = memory_mb("VmHWM") - before_mb


if __name__ == "__main__":
    sys.exit(main())
