"""A known failure: how it reads, what it means and what helps."""

import re
from dataclasses import dataclass

FLAGS = re.IGNORECASE | re.MULTILINE
RESUME = "pillsnap train  # resumes where it stopped"


@dataclass(frozen=True)
class Known:
    """A kind of failure; {names} in its texts are fields of diagnosis.Facts or pattern groups."""

    kind: str
    pattern: re.Pattern[str]
    fact: str
    cause: str
    cures: tuple[str, ...]
    codes: frozenset[int] = frozenset()  # exit codes that mean it without any text


def known(
    kind: str, pattern: str, fact: str, cause: str, *cures: str, codes: tuple[int, ...] = ()
) -> Known:
    """A Known with its pattern compiled, in any case and line by line."""
    return Known(kind, re.compile(pattern, FLAGS), fact, cause, cures, frozenset(codes))
