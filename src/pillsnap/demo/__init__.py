"""A synthetic AI Hub tree: rendered photos of invented pills, in AI Hub's format."""

from pillsnap.demo.photos import Camera, Frame, Placement, View, draw_frame, lay_out
from pillsnap.demo.pills import Pill, invent_pills
from pillsnap.demo.plan import DemoSpec
from pillsnap.demo.tree import draw_tree, png_bytes

__all__ = [
    "Camera", "DemoSpec", "Frame", "Pill", "Placement", "View",
    "draw_frame", "draw_tree", "invent_pills", "lay_out", "png_bytes",
]  # fmt: skip
