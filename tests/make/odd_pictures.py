"""Odd PNG and JPEG files of 64 x 48 px: metadata that decoders trip over, rare kinds of pixels,
damage."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PIXELS[:8, :8] = (250, 10, 20)
GREY = PIXELS[..., 1]
OPAQUE = np.full((48, 64), 255, np.uint8)
ALPHA = OPAQUE.copy()
ALPHA[8:16] = 100
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"", crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def ihdr(depth: int = 8, colour: int = 2, interlace: int = 0, side=(64, 48)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *side, depth, colour, 0, 0, interlace))


def idat(rows: np.ndarray) -> bytes:
    """Rows of bytes without a filter."""
    return chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))


END = chunk(b"IEND")
IMAGE = idat(PIXELS.reshape(48, -1))
DEEP = (PIXELS.astype(np.uint16) * 257).astype(">u2")


def zeros(
    side: int, depth: int = 8, colour: int = 0, channels: int = 1, text: bytes = b""
) -> bytes:
    """A sound square PNG of zeros: of any size in some KB."""
    packer, row = zlib.compressobj(1), bytes(side * channels * depth // 8 + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    parts = ihdr(depth, colour, side=(side, side)), chunk(b"tEXt", text), chunk(b"IDAT", packed)
    return SIGNATURE + b"".join(parts) + END


def png(*between: bytes, head: bytes = ihdr(), image: bytes = IMAGE, after: bytes = b"") -> bytes:
    return SIGNATURE + head + b"".join(between) + image + after + END


def saved(pixels: np.ndarray, form: str = "PNG", mode: str | None = None, **options) -> bytes:
    buffer, picture = io.BytesIO(), Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def interlaced() -> bytes:
    """Adam7: seven small pictures one after another."""
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
             (1, 0, 2, 1)]  # fmt: skip
    small = [PIXELS[top::down, left::across] for top, left, down, across in steps]
    rows = b"".join(b"\0" + row.tobytes() for picture in small for row in picture)
    return png(head=ihdr(interlace=1), image=chunk(b"IDAT", zlib.compress(rows)))


PACKED = saved(PIXELS)
SRGB, PRIVATE = chunk(b"sRGB", b"\0"), chunk(b"prVt", bytes(99))
ANIMATION = chunk(b"acTL", struct.pack(">II", 1, 0))
TEXT = b"Comment\0" + bytes(range(32, 127))
PALETTE = bytes(np.repeat(np.arange(256, dtype=np.uint8), 3))
EXIF = exif(6).removeprefix(b"Exif\0\0")
XMP = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="8"/>'

# Read with exactly these pixels
AS_THEY_ARE: dict[str, bytes] = {
    "plain": png(),
    "as Pillow saves": PACKED,
    "text": png(chunk(b"tEXt", TEXT), after=chunk(b"tEXt", TEXT)),
    "text with a wrong checksum": png(chunk(b"tEXt", TEXT, crc=1)),
    "packed text that is none": png(chunk(b"zTXt", b"a\0\0not packed")),
    "packed text of 100 MB": png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "international text cut": png(chunk(b"iTXt", b"a\0\1")),
    "colour profile": png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(200)))),
    "profile that is not packed": png(chunk(b"iCCP", b"icc\0\0xxxx")),
    "profile with a wrong checksum": png(chunk(b"iCCP", b"icc\0\0xxxx", crc=7)),
    "profile of 100 MB": png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(10**8)))),
    "gamma": png(chunk(b"gAMA", struct.pack(">I", 100_000))),
    "gamma of nothing": png(chunk(b"gAMA")),
    "gamma twice": png(*[chunk(b"gAMA", struct.pack(">I", 45_455))] * 2),
    "sRGB of no known intent": png(chunk(b"sRGB", b"\x09")),
    "resolution cut": png(chunk(b"pHYs", b"\0\0")),
    "time of month 13": png(chunk(b"tIME", struct.pack(">HBBBBB", 2020, 13, 40, 30, 70, 70))),
    "chromaticities cut": png(chunk(b"cHRM", bytes(5))),
    "sound chunks": png(
        SRGB, chunk(b"PLTE", PALETTE), chunk(b"bKGD", bytes(6)), PRIVATE, ANIMATION
    ),
    "animation of no frames": png(chunk(b"acTL", bytes(8))),
    "EXIF that is none": png(chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "EXIF with a wrong checksum": png(chunk(b"eXIf", EXIF, crc=3)),
    "EXIF of orientation 9": png(chunk(b"eXIf", exif(9).removeprefix(b"Exif\0\0"))),
    "a colour key with a wrong checksum": png(chunk(b"tRNS", bytes(6), crc=5)),
    "interlaced": interlaced(),
    "16 bits": png(head=ihdr(16), image=idat(DEEP.reshape(48, -1))),
    "pixels in many chunks": png(
        image=b"".join(chunk(b"IDAT", IMAGE[8:-4][at : at + 97]) for at in range(0, 9136, 97))
    ),
    "opaque alpha": saved(np.dstack([PIXELS, OPAQUE])),
}


def white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)


def grey_rgb(grey: np.ndarray = GREY) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def keyed(pixels: np.ndarray, colour) -> np.ndarray:
    return np.where((pixels == colour).all(axis=2, keepdims=True), 255, pixels).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1), 7: pixels[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(pixels),
    }[orientation]  # fmt: skip


RED_KEY = chunk(b"tRNS", struct.pack(">HHH", 250, 10, 20))
GREY_KEY = chunk(b"tRNS", struct.pack(">H", int(GREY[20, 20])))
GREY_FILE = {"head": ihdr(8, 0), "image": idat(GREY)}
PALETTE_FILE = {"head": ihdr(8, 3), "image": idat(GREY)}
PLTE = chunk(b"PLTE", PALETTE)
HALF_CLEAR = chunk(b"tRNS", bytes([128]) * 256)
BLACK_OR_WHITE = (GREY > 127).astype(np.uint8) * 255
DEEP_GREY = (GREY.astype(np.uint16) * 256 + 77).astype(">u2")
DEEP_ALPHA = np.dstack([DEEP, (ALPHA.astype(np.uint16) * 257).astype(">u2")])
TURNED = {number: upright(PIXELS, number) for number in range(2, 9)}
RAW_PROFILE = b"Raw profile type exif\0\nexif\n      %d\n" % len(exif(3)) + exif(3).hex().encode()

# Read with other pixels than the file lists
CONVERTED: dict[str, tuple[bytes, np.ndarray]] = {
    "a colour key": (png(RED_KEY), keyed(PIXELS, (250, 10, 20))),
    "a colour key of 16 bits": (
        png(RED_KEY, head=ihdr(16), image=idat(DEEP.reshape(48, -1))), PIXELS,
    ),
    "alpha": (saved(np.dstack([PIXELS, ALPHA])), white(PIXELS, ALPHA)),
    "alpha of 16 bits": (
        png(head=ihdr(16, 6), image=idat(DEEP_ALPHA.reshape(48, -1))), white(PIXELS, ALPHA),
    ),
    "grey": (png(**GREY_FILE), grey_rgb()),
    "grey with a key": (png(GREY_KEY, **GREY_FILE), keyed(grey_rgb(), GREY[20, 20])),
    "grey with alpha": (
        png(head=ihdr(8, 4), image=idat(np.dstack([GREY, ALPHA]).reshape(48, -1))),
        white(grey_rgb(), ALPHA),
    ),
    "grey of 16 bits": (png(head=ihdr(16, 0), image=idat(DEEP_GREY)), grey_rgb()),
    "black and white": (saved(BLACK_OR_WHITE, mode="1"), grey_rgb(BLACK_OR_WHITE)),
    "palette": (png(PLTE, **PALETTE_FILE), grey_rgb()),
    "palette with alpha": (
        png(PLTE, HALF_CLEAR, **PALETTE_FILE), white(grey_rgb(), np.full_like(GREY, 128)),
    ),
    **{
        f"EXIF of orientation {number}": (saved(PIXELS, exif=exif(number)), turned)
        for number, turned in TURNED.items()
    },
    "EXIF after the pixels": (png(after=chunk(b"eXIf", EXIF)), TURNED[6]),
    "EXIF as ImageMagick wrote it": (png(chunk(b"tEXt", RAW_PROFILE)), TURNED[3]),
    "orientation in XMP": (png(chunk(b"iTXt", XMP)), TURNED[8]),
}  # fmt: skip

CRITICAL = chunk(b"CgBI", b"\0\0\0\0")  # an iPhone's own kind of PNG
DAMAGED: dict[str, bytes] = {
    "a chunk that ends in the last one": SIGNATURE + ihdr() + IMAGE + b"\0\0\0\x05tEXt" + END,
    "empty": b"",
    "signature alone": SIGNATURE,
    "header cut": png()[:30],
    "half": png()[: len(png()) // 2],
    "end lost": png()[:-12],
    "bytes added": png() + bytes(9),
    "two files": png() + png(),
    "a bit of the pixels": png(image=IMAGE[:90] + bytes([IMAGE[90] ^ 8]) + IMAGE[91:]),
    "checksum of the pixels": png(image=chunk(b"IDAT", IMAGE[8:-4], crc=1)),
    "checksum of grey pixels": png(head=ihdr(8, 0), image=chunk(b"IDAT", idat(GREY)[8:-4], crc=1)),
    "checksum of the header": png(head=chunk(b"IHDR", ihdr()[8:-4], crc=1)),
    "no pixels": png(image=b""),
    "too few pixels": png(image=idat(PIXELS[:20].reshape(20, -1))),
    "too few pixels of grey": png(head=ihdr(8, 0), image=idat(GREY[:20])),
    "too few pixels, interlaced": png(head=ihdr(interlace=1), image=idat(PIXELS[:1, :2])),
    "no palette": png(**PALETTE_FILE),
    "no width": png(head=ihdr(side=(0, 48))),
    "no such colour": png(head=ihdr(8, 5)),
    "no such depth": png(head=ihdr(3, 2)),
    "an unknown critical chunk": png(CRITICAL),
    "a chunk longer than the file": png(struct.pack(">I4s", 10**6, b"tEXt")),
    "pixels that are not packed": png(image=chunk(b"IDAT", bytes(500))),
}


def with_segment(marker: int, body: bytes) -> bytes:
    return JPEG[:2] + struct.pack(">BBH", 255, marker, len(body) + 2) + body + JPEG[2:]


SMOOTH = np.kron(PIXELS[::8, ::8], np.ones((8, 8, 1), np.uint8))  # what JPEG keeps nearly whole
JPEG = saved(SMOOTH, "JPEG", quality=95, subsampling=0)
JPEGS: dict[str, tuple[bytes, np.ndarray]] = {
    "plain": (JPEG, SMOOTH),
    "progressive": (saved(SMOOTH, "JPEG", quality=95, subsampling=0, progressive=True), SMOOTH),
    "grey": (saved(SMOOTH[..., 0], "JPEG", quality=95), grey_rgb(SMOOTH[..., 0])),
    "CMYK": (saved(SMOOTH, "JPEG", "CMYK", quality=95), SMOOTH),
    "comment": (with_segment(0xFE, b"\xff\xfe\0 words"), SMOOTH),
    "profile cut": (with_segment(0xE2, b"ICC_PROFILE\0\1\2abc"), SMOOTH),
    "EXIF that is none": (with_segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"), SMOOTH),
    "Photoshop's block cut": (with_segment(0xED, b"Photoshop 3.0\x008BIM\4"), SMOOTH),
    "resolution of nothing": (with_segment(0xE0, b"JFIF\0\1\2\1\0\0\0\0\0\0"), SMOOTH),
    "bytes added": (JPEG + bytes(99), SMOOTH),
    **{
        f"EXIF of orientation {number}": (
            saved(SMOOTH, "JPEG", quality=95, subsampling=0, exif=exif(number)),
            upright(SMOOTH, number),
        )
        for number in TURNED
    },
}
DAMAGED_JPEGS = {"half": JPEG[: len(JPEG) // 2], "header alone": JPEG[:20], "no scan": JPEG[:300]}
