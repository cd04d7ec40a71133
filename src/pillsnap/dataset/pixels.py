"""Pixels: crop, scale, encode, decode, hash; the same functions for training and inference."""

import struct

import cv2
import numpy as np
import simplejpeg
import xxhash
from numpy.typing import NDArray

from pillsnap.arrays import Pixels


def cut(
    frame: Pixels,
    box_xywh: NDArray[np.generic] | tuple[float, ...],
    crop_px: int,
    margin: float,
) -> Pixels:
    """The crop of a pill for the classifier: uint8 RGB [crop_px, crop_px, 3].

    The square around the box's centre whose side is the longer box side x (1 + 2 x margin), in
    whole pixels, the frame's edge replicated past it. `frame` is uint8 RGB [h, w, 3].
    """
    x, y, width, height = (float(value) for value in box_xywh)
    side = max(1, int(np.floor(max(width, height) * (1 + 2 * margin) + 0.5)))
    left = int(np.floor(x + width / 2 - side / 2 + 0.5))
    top = int(np.floor(y + height / 2 - side / 2 + 0.5))
    if left >= 0 and top >= 0 and left + side <= frame.shape[1] and top + side <= frame.shape[0]:
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    else:
        rows = np.clip(np.arange(top, top + side), 0, frame.shape[0] - 1)
        columns = np.clip(np.arange(left, left + side), 0, frame.shape[1] - 1)
        square = frame[rows[:, None], columns]
    interpolation = cv2.INTER_AREA if side > crop_px else cv2.INTER_LINEAR
    crop = cv2.resize(square, (crop_px, crop_px), interpolation=interpolation)
    return np.asarray(crop, dtype=np.uint8)


def scale_down(frame: Pixels, longest_px: int) -> Pixels:
    """The frame scaled so that its longest side is at most `longest_px`; never enlarged."""
    height, width = frame.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return frame
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode(pixels: Pixels, quality: int) -> bytes:
    """JPEG bytes of uint8 RGB [h, w, 3]; chroma is not subsampled (imprints are coloured)."""
    contiguous = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(contiguous, quality, "RGB", "444"))


def decode(jpeg: bytes | memoryview) -> Pixels:
    """uint8 RGB [h, w, 3] of JPEG bytes."""
    return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"), dtype=np.uint8)


def perceptual_hash(crop: Pixels) -> int:
    """A 64-bit hash that differs in few bits between near-duplicates.

    pHash (Zauner 2010): 32 x 32 grey, DCT, whether the lowest 8 x 8 coefficients exceed their
    median.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:8, :8].ravel()
    bits = waves > np.median(waves[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def pixel_hash(pixels: Pixels) -> str:
    """xxh3-128 of size and pixels, hex: equal for the same pixels in another encoding."""
    state = xxhash.xxh3_128(struct.pack(">3I", *pixels.shape))
    state.update(np.ascontiguousarray(pixels).data)
    return state.hexdigest()
