"""`pillsnap predict --json` as a program, with the drawn models; ends as predict does.

    python drawn_predict.py MAX_PIXELS PICTURES_OR_FOLDERS...

The last line on standard error: the megabytes that memory has grown by at its highest.
"""

import re
import sys
from pathlib import Path

from make.drawn_models import recogniser
from pillsnap.prediction import predict
from pillsnap.prediction.load import Loaded


def memory_mb(name: str) -> float:
    """VmRSS or VmHWM; unlike getrusage's maximum, free of what the program that started us used."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000


def main() -> int:
    max_pixels, *images = sys.argv[1:]
    loaded = Loaded(recogniser(), 4, int(max_pixels), "drawn", "demo", Path("none.json"))
    before_mb = memory_mb("VmRSS")
    code = predict.predict(loaded, predict.expand(images), 2, None, None, "json")
    print(memory_mb("VmHWM") - before_mb, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
