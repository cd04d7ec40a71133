"""Damage drawn from a seed: to bytes, text, trees of values and pictures."""

import json
import random
import zlib
from typing import Any

from hypothesis import strategies as some

SEEDS = some.integers(0, 2**32).map(random.Random)

PIECES = (
    b"[", b'{"a":', b'\\"', b'"', b"\\", b",", b"]}", b"9", b"-", b"1e999", b"NaN", b"null", b"\0",
    b"\xff", b"\xb0\xa1", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b" ", b"\t", b"\r\n", b"&a [*a,",
    b"? ", b": ", b"- ", b"'", b"#", b"|", b">", b"%", b"!!python/object:x ", b"<<: *a\n",
    b"\xed\xa0\x80", b"--XBX", b"; a=",
)  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"
VALUES = (
    None, True, -1, 0, 0.5, 1e308, 2**63, 10**400, float("nan"), float("inf"), "", "K-000001",
    "x" * 10_000, "\ud800", "\0", [], {}, [[]], [None] * 1000, {"a": {}}, "9" * 5000, "\u0660",
)  # fmt: skip


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Other bytes: flipped bits, a cut, a hole of zeros or noise, a part lost, doubled or added."""
    while True:
        span = chance.choice((len(content), 1 << 6, 1 << 10, 1 << 15))  # most files begin with
        at = chance.randrange(min(len(content), span))  # what they are
        if chance.random() < 0.1:
            at = len(content) - 1 - at
        size = chance.choice((1, 4, 64, 512, 4096))
        body = content[at : at + size]
        flip = bytes([body[0] ^ 1 << chance.randrange(8)]) + body[1:]
        noise = chance.randbytes(len(body))
        put = chance.choice((flip, flip, bytes(len(body)), noise, b"", body + body, None))
        if put is None:  # cut, or something added
            found = content[:at] if chance.random() < 0.5 else content + noise
        else:
            found = content[:at] + put + content[at + size :]
        if found != content:
            return found


def damaged_text(content: bytes, chance: random.Random) -> bytes:
    """The same, or with pieces of syntax put in, up to a million bytes of them."""
    if chance.random() < 0.4:
        return damaged(content, chance)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(content) + 1)
        most = 10**6 if chance.random() < 0.005 else chance.choice((1, 3, 2000))
        pieces = b"".join(chance.choices(PIECES, k=chance.choice((1, 1, 2, 3))))
        content = content[:at] + (pieces * most)[:most] + content[at:]
    return content


def damaged_tree(tree: Any, chance: random.Random) -> Any:
    """A tree with one value, at any depth, replaced, removed or put in under another name."""
    if not isinstance(tree, dict | list) or not tree or chance.random() < 0.15:
        return chance.choice(VALUES)
    tree = dict(enumerate(tree)) if (is_list := isinstance(tree, list)) else dict(tree)
    key = chance.choice(list(tree))
    if chance.random() < 0.1:
        tree.pop(key)
    elif chance.random() < 0.05:
        tree[f"{key}x"] = tree[key]
    else:
        tree[key] = damaged_tree(tree[key], chance)
    return list(tree.values()) if is_list else tree


def damaged_json(tree: Any, chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return damaged_text(json.dumps(tree, ensure_ascii=False).encode(), chance)
    for _ in range(chance.choice((1, 1, 3))):
        tree = damaged_tree(tree, chance)
    return json.dumps(tree).encode()


def damaged_picture(wholes: list[bytes], chance: random.Random) -> bytes:
    """Damage to a picture; of a PNG often with checksums that hold again."""
    content = damaged(chance.choice(wholes), chance)
    if content.startswith(PNG) and chance.random() < 0.5:
        content, at = bytearray(content), len(PNG)
        while (stop := at + 12 + int.from_bytes(content[at : at + 4], "big")) <= len(content):
            check = zlib.crc32(content[at + 4 : stop - 4])
            content[stop - 4 : stop] = check.to_bytes(4, "big")
            at = stop
    return bytes(content)
