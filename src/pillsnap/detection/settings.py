"""Ultralytics' switches, set before it is imported: it reads them then.

Without them, importing 8.4 looks up hosts (23 s offline) and may install packages.
"""

import importlib
import os
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")  # a .pt is a pickle: never run what it holds
# The project's own: the user's Ultralytics settings elsewhere are not ours to change.
os.environ["YOLO_CONFIG_DIR"] = str(Path(".checkpoints").resolve())

# The ranks of a training share its batches out themselves (pillsnap.ranks). Ultralytics, which asks
# how many there are while it is imported, shall believe that it is alone.
_world_size = os.environ.pop("WORLD_SIZE", None)
importlib.import_module("ultralytics.utils")
if _world_size is not None:
    os.environ["WORLD_SIZE"] = _world_size
