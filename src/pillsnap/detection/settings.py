"""Ultralytics' switches, which it reads when it is imported.

Without them, importing 8.4 resolves hosts (23 s offline) and may install packages.
"""

import importlib
import os
from pathlib import Path

import torch  # noqa: F401  # first: Ultralytics sets OMP_NUM_THREADS=1 for what is loaded after it

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")  # a .pt is a pickle: never run its code
# The project's own folder: the user's Ultralytics settings stay as they are.
os.environ["YOLO_CONFIG_DIR"] = str(Path(".checkpoints").resolve())

# The ranks divide the batches themselves (pillsnap.training.ranks): Ultralytics reads WORLD_SIZE
# when it is imported and must find a single process. It sets OMP_NUM_THREADS=1, which the stages
# that this process starts would inherit.
_kept = {name: os.environ.get(name) for name in ("WORLD_SIZE", "OMP_NUM_THREADS")}
os.environ.pop("WORLD_SIZE", None)
importlib.import_module("ultralytics.utils")
for _name, _value in _kept.items():
    os.environ.pop(_name, None)
    if _value is not None:
        os.environ[_name] = _value
