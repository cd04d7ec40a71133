"""The words of the register for shapes and colours."""

from collections.abc import Mapping

from pillsnap.errors import DataError

SHAPES = {  # the Korean word, and English ones
    "원형": ("round", "circle"),
    "타원형": ("oval", "ellipse"),
    "장방형": ("oblong", "capsule"),
    "반원형": ("semicircle", "half moon"),
    "삼각형": ("triangle",),
    "사각형": ("square", "rectangle"),
    "마름모형": ("diamond", "rhombus"),
    "오각형": ("pentagon",),
    "육각형": ("hexagon",),
    "팔각형": ("octagon",),
}
COLOURS = {
    "하양": ("white", "흰색", "백색"),
    "노랑": ("yellow",),
    "주황": ("orange",),
    "분홍": ("pink",),
    "빨강": ("red",),
    "갈색": ("brown",),
    "연두": ("light green", "yellow green"),
    "초록": ("green",),
    "청록": ("teal", "turquoise"),
    "파랑": ("blue",),
    "남색": ("navy",),
    "자주": ("magenta", "reddish purple"),
    "보라": ("purple", "violet"),
    "회색": ("grey", "gray"),
    "검정": ("black",),
    "투명": ("transparent", "clear"),
}


def korean_of(text: str, words: Mapping[str, tuple[str, ...]], kind: str) -> str:
    """The Korean word of a shape or colour; DataError with the known ones."""
    asked = text.strip().lower()
    for korean, others in words.items():
        if asked in (korean, korean.removesuffix("형"), *others) or asked == korean + "색":
            return korean
    known = ", ".join(f"{korean} ({others[0]})" for korean, others in words.items())
    raise DataError(f"{text!r} is no {kind} of the register.", f"Use one of: {known}.")
