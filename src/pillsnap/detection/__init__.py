"""The detector: a YOLO of Ultralytics with one class, "pill". Only this room imports it."""

import torch  # noqa: F401  # first: Ultralytics sets OMP_NUM_THREADS=1 for what is loaded after it
