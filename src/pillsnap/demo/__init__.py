"""A synthetic AI Hub tree of invented pills, worth learning from, in the real one's grammar."""

from pillsnap.demo.photos import Camera, Frame, Placement, View, draw_frame, lay_out
from pillsnap.demo.pills import Pill, invent_pills
from pillsnap.demo.plan import DemoSpec
from pillsnap.demo.tree import draw_tree, png_bytes

__all__ = [
    "Camera",
    "DemoSpec",
    "Frame",
    "Pill",
    "Placement",
    "View",
    "draw_frame",
    "draw_tree",
    "invent_pills",
    "lay_out",
    "png_bytes",
]
