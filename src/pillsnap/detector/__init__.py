"""The detector: a YOLO of Ultralytics with one class, "pill". Only this package imports it."""

from pillsnap.detector.model import Detector, load
from pillsnap.detector.plan import Plan, Trained
from pillsnap.detector.training import train

__all__ = ["Detector", "Plan", "Trained", "load", "train"]
