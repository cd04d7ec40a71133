"""The trained detector as a file that Ultralytics loads: `yolo predict model=pill.pt`."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  first: sets Ultralytics' switches
# isort: on

import io
from pathlib import Path

import torch
import ultralytics

from pillsnap import files
from pillsnap.detection import detector
from pillsnap.training import checkpoints

NAMES = {0: "pill"}
LICENCE = "AGPL-3.0 License (https://ultralytics.com/license)"


def write(checkpoint: Path, out: Path) -> None:
    """Write the model of a published checkpoint as Ultralytics' trainer saves one."""
    weights, config = checkpoints.load_published(checkpoint)
    model = detector.build(config["architecture"])
    model.load_state_dict(weights)
    model.names, model.task = NAMES, "detect"
    used = {"task": "detect", "imgsz": config["image_px"], "model": f"{config['architecture']}.pt"}
    model.args = used
    content = {
        "model": model.eval(), "ema": None, "epoch": -1, "train_args": used,
        "version": ultralytics.__version__, "license": LICENCE,
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_bytes(out, buffer.getvalue())


def metadata(config: dict[str, object]) -> dict[str, str]:
    """The properties that Ultralytics reads of an ONNX graph whose sizes are free."""
    side = config["image_px"]
    values = {
        "description": f"Ultralytics {config['architecture']} trained by PillSnap",
        "version": ultralytics.__version__, "license": LICENCE, "stride": 32, "task": "detect",
        "batch": 1, "imgsz": [side, side], "names": NAMES, "channels": 3, "end2end": False,
        "args": {"batch": 1, "dynamic": True, "nms": False},
    }  # fmt: skip
    return {name: str(value) for name, value in values.items()}
