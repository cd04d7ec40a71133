"""A word to the outside when a training ends: one POST to PILLSNAP_WEBHOOK_URL, where it is set.

The URL is a secret (whoever has it can post): it is never printed, logged or handed to a child.
"""

import os
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from typing import Literal

import orjson

URL_VARIABLE = "PILLSNAP_WEBHOOK_URL"
TIMEOUT_S = 5.0

Event = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Notice:
    """How a training ended."""

    event: Event
    scale: str
    minutes: float
    message: str
    cures: tuple[str, ...] = ()


def send(notice: Notice, timeout_s: float = TIMEOUT_S) -> str:
    """POST the notice as JSON; returns a warning, or "" when it was taken or no URL is set.

    Keys: those of Notice, and `text` and `content`, which chat services show.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        return ""
    if not url.lower().startswith(("http://", "https://")):
        return f"{URL_VARIABLE} is not an http(s) address: nobody was told."
    text = f"PillSnap {notice.scale}: {notice.event} after {notice.minutes:.1f} min. "
    text += " ".join((notice.message, *notice.cures))
    body = orjson.dumps({"project": "pillsnap", **asdict(notice), "text": text, "content": text})
    try:
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json", "User-Agent": "pillsnap"}
        )
        with urllib.request.urlopen(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"The webhook of {URL_VARIABLE} answered HTTP {error.code}: nobody was told."
    except Exception as error:  # a bad address, TLS, a timeout: the training's end must not fail
        reason = getattr(error, "reason", error)
        name = type(reason).__name__ if isinstance(reason, Exception) else type(error).__name__
        return f"The webhook of {URL_VARIABLE} was not reached ({name}): nobody was told."
