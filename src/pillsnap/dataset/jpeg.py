"""Memory that decoding a JPEG takes, from its header.

libjpeg decodes a baseline JPEG row by row. One whose first scan does not hold all components, as
every progressive one, it keeps as coefficients first: 2 bytes a sample, at full size.
"""

import struct
from typing import BinaryIO

COEFFICIENT_BYTES = 2
BLOCK = 8
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
SCAN = 0xDA
STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # markers without a length


def buffered_bytes(file: BinaryIO, width: int, height: int) -> int:
    """Bytes of coefficients that libjpeg keeps of the JPEG, 0 for a usual one; the position in
    the file stays."""
    before = file.tell()
    file.seek(2)
    samples, buffered, components = 0, False, 0
    while (marker := _next_marker(file)) is not None:
        if marker in STANDALONE:
            continue
        body = file.read(struct.unpack(">H", file.read(2))[0] - 2)
        if marker in FRAMES:
            components = body[5]
            buffered = marker in PROGRESSIVE
            samples = _samples(body, width, height)
        if marker == SCAN:
            buffered = buffered or body[0] < components
            break
    file.seek(before)
    return samples * COEFFICIENT_BYTES if buffered else 0


def _next_marker(file: BinaryIO) -> int | None:
    byte = file.read(1)
    while byte not in (b"\xff", b""):
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


def _samples(frame: bytes, width: int, height: int) -> int:
    """Samples of all components, in whole blocks; factors are in frame[7 + 3 i]."""
    factors = [divmod(byte, 16) for byte in frame[7::3]]
    widest, tallest = max(h for h, _ in factors), max(v for _, v in factors)
    blocks_across, blocks_down = -(-width // (BLOCK * widest)), -(-height // (BLOCK * tallest))
    return sum(h * v for h, v in factors) * blocks_across * blocks_down * BLOCK**2
