"""A synthetic AI Hub tree: rendered photos of invented pills, in AI Hub's format."""

from pillsnap.demo.photos import Camera, DrawnPhoto, DrawnView, Placement, draw_frame, lay_out
from pillsnap.demo.pills import DrawnPill, invent_pills
from pillsnap.demo.plan import DemoSpec
from pillsnap.demo.tree import draw_tree, png_bytes

__all__ = [
    "Camera",
    "DemoSpec",
    "DrawnPhoto",
    "DrawnPill",
    "DrawnView",
    "Placement",
    "draw_frame",
    "draw_tree",
    "invent_pills",
    "lay_out",
    "png_bytes",
]  # fmt: skip
