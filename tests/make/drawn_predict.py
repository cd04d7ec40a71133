"""`pillsnap predict --json` as a program, with the drawn models.

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


def memory_mb(name: str) -> float:
    """VmRSS or VmHWM; unlike getrusage's maximum, free of what the program that started us used."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000


def main() -> int:
    max_pixels, *images = sys.argv[1:]
    loaded = Loaded(recogniser(), 4, int(max_pixels), "drawn", "demo", Path("none.json"))
    paths, grown_mb = predict.expand(images), {}
    # Each alone, so that its memory can be told from that of the others
    answers = (answer for path in paths for answer in _watched(loaded, path, grown_mb))
    output.write("json", answers, sys.stdout)
    print(json.dumps(grown_mb), file=sys.stderr)
    return 0


def _watched(loaded: Loaded, path: Path, grown_mb: dict[str, float]):
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS
    before_mb = memory_mb("VmRSS")
    yield from predict.recognise(loaded, [path], 2)
    grown_mb[str(path)] = memory_mb("VmHWM") - before_mb


if __name__ == "__main__":
    sys.exit(main())
