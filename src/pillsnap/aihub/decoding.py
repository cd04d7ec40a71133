"""Decodes the JSON of a label, with the damage that occurs: BOM, code pages, trailing commas.

Light imports only: the worker processes load this module.
"""

import json
import re
from contextlib import suppress
from typing import Any

import orjson

BOM = b"\xef\xbb\xbf"
KEYS_READ = (b'"bbox"', b'"dl_mapping_code"', b'"drug_N"', b'"width"', b'"height"')
# A string, closed or not, or a comma before a closing bracket; possessive, so in linear time.
STRING_OR_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*+[\]}])', re.DOTALL)


class RefusalError(Exception):
    """A label that cannot be used: name of the finding, and the offending value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def decode(content: bytes, notes: list[tuple[str, str]]) -> dict[str, Any]:
    """The mapping in a label's bytes; repairs are added to `notes`. RefusalError for the rest."""
    try:
        tree = orjson.loads(content)
    except orjson.JSONDecodeError:
        tree = _decode_damaged(content, notes)
    if not isinstance(tree, dict):
        raise RefusalError("label_keys_missing", "not a mapping")
    if any(content.count(key) > 1 for key in KEYS_READ):
        _refuse_duplicate_keys(content)
    return tree


def _decode_damaged(content: bytes, notes: list[tuple[str, str]]) -> Any:
    """Accept a byte-order mark, Korean code pages and trailing commas; refuse the rest."""
    if content.startswith(BOM):
        notes.append(("label_with_byte_order_mark", ""))
    text = _text_of(content.removeprefix(BOM), notes)
    constants = list[str]()
    try:
        tree = json.loads(text, parse_constant=constants.append)
    except (ValueError, RecursionError):
        constants.clear()
        text = STRING_OR_TRAILING_COMMA.sub(r"\1", text)
        try:
            tree = json.loads(text, parse_constant=constants.append)
        except (ValueError, RecursionError) as error:
            raise RefusalError("label_not_json", f"{error}"[:120]) from None
        notes.append(("label_with_trailing_comma", ""))
    if constants:
        notes.append(("label_with_nan", ""))
    return tree


def _text_of(content: bytes, notes: list[tuple[str, str]]) -> str:
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8")
    try:
        text = content.decode("cp949")  # holds all of euc-kr
    except UnicodeDecodeError:
        raise RefusalError("label_not_text", "neither UTF-8 nor cp949") from None
    notes.append(("label_in_cp949", ""))
    return text


def _refuse_duplicate_keys(content: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = dict(pairs)
        if len(tree) != len(pairs):
            for key, value in pairs:
                if tree[key] != value:
                    raise RefusalError("label_key_duplicated", key)
        return tree

    with suppress(
        ValueError, RecursionError
    ):  # not plain JSON: was repaired, keys are not compared
        json.loads(content.removeprefix(BOM), object_pairs_hook=unique)
