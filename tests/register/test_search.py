"""Search: the true drug is in a zone for everything a person can truthfully say of it."""

import itertools
import random
import re

import pytest

from pillsnap.errors import DataError
from pillsnap.imprint import spelling
from pillsnap.register import words
from pillsnap.register.search import ZONES, Index, Query
from pillsnap.register.store import Drug

LETTERS = "0O1IL75S2Z8B69MWHNXCAK"
ALIKE = ("0O", "1IL7", "5S", "2Z", "8B")
UPSIDE_DOWN = {**{c: c for c in "018CHINOSXZ"}, "6": "9", "9": "6", "M": "W", "W": "M"}


def drawn(seed, count=80):
    """Drugs with short imprints of letters that are misread; some fields are not recorded."""
    rng = random.Random(seed)

    def side():
        return "".join(rng.choices(LETTERS, k=rng.choice((0, 0, 1, 2, 3, 4))))

    return [
        Drug(str(n), f"K-{n:06}", f"drug {n}", (), rng.choice(("", "기타", "원형", "장방형")),
             rng.choice(((), ("하양",), ("노랑", "투명"), ("얼룩",))), side(), side())
        for n in range(count)
    ]  # fmt: skip


def by_hand(drug, query):
    """The zone of one drug by regular expressions, letter by letter; None if it contradicts."""
    colours_known = drug.colours and all(colour in words.COLOURS for colour in drug.colours)
    if query.shape and drug.shape in words.SHAPES and drug.shape != query.shape:
        return None
    if query.colour and colours_known and query.colour not in drug.colours:
        return None
    if not query.imprint:
        missing = (query.shape and drug.shape not in words.SHAPES) or (
            query.colour and not colours_known
        )
        return "no_data" if missing else "exact"
    front, back = drug.print_front, drug.print_back
    texts = {text for text in (front, back, front + back, back + front) if text}
    if query.imprint in texts:
        return "exact"
    for zone, pattern in (("prefix", re.escape(query.imprint)), ("contains", ".*" + query.imprint)):
        if any(re.match(pattern, text) for text in texts):
            return zone
    groups = [next((group for group in ALIKE if c in group), c) for c in query.imprint]
    upside_down = [
        "".join(g for g in (*ALIKE, *LETTERS) if {UPSIDE_DOWN.get(c) for c in group} & set(g))
        for group in reversed(groups)
    ]
    for way in (groups, upside_down):
        pattern = "".join(f"[{group}]" for group in way)
        if all(way) and any(re.search(pattern, text) for text in texts):
            return "misread"
    if not front and not back:
        return "no_data"
    read_more = any(side and re.search(side, query.imprint) for side in (front, back))
    return "partial" if read_more or not front or not back else None


def reachable(drug):
    """What a person can say of a drug: parts of it, upside down, with look-alike letters."""
    front, back = drug.print_front, drug.print_back
    seen = {""}
    for text in {front, back, front + back, back + front}:
        seen |= {text[a:b] for a, b in itertools.combinations(range(len(text) + 1), 2)}
    seen |= {
        "".join(map(UPSIDE_DOWN.__getitem__, reversed(text)))
        for text in seen
        if UPSIDE_DOWN.keys() >= set(text)
    }
    for group in ALIKE:
        for one, other in itertools.permutations(group, 2):
            seen |= {text.replace(one, other) for text in seen}
    looks = itertools.product(
        ("", drug.shape if drug.shape in words.SHAPES else "원형"),
        ("", *(colour for colour in drug.colours if colour in words.COLOURS)),
    )
    return [Query(text, *look) for look in looks for text in seen if text or any(look)]


@pytest.mark.parametrize("seed", range(3))
def test_every_reachable_query_finds_the_drug_in_the_zone_found_by_hand(seed):
    drugs = drawn(seed)
    index = Index(drugs)
    queries = {query for drug in drugs for query in reachable(drug)}
    assert len(queries) > 1_000
    of = {}
    for query in random.Random(seed).sample(sorted(queries, key=repr), 400):
        zones = index.search(query)
        of[query] = {drug.item_seq: zone for zone, found in zones.items() for drug in found}
        assert list(zones) == list(ZONES)
        assert sum(map(len, zones.values())) == len(of[query])  # a drug is in one zone
        expected = {drug.item_seq: by_hand(drug, query) for drug in drugs}
        assert of[query] == {seq: zone for seq, zone in expected.items() if zone}
    lost = [
        (drug, query) for drug in drugs for query in reachable(drug)
        if query in of and drug.item_seq not in of[query]
    ]  # fmt: skip
    assert not lost
    assert not any(Index([]).search(Query("AB", "원형", "하양")).values())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("마크 ab-1", "AB1"), ("ab 1", "AB1"), ("십자분할선", ""), ("마크분할선ST", "ST")],
)
def test_imprints_are_compared_without_logos_and_spaces(typed, meant):
    assert spelling.plain(typed) == meant


@pytest.mark.parametrize(
    ("shape", "colour", "meant"),
    [
        ("round", "white", ("원형", "하양")),
        ("장방", "노랑색", ("장방형", "노랑")),
        ("장방", "rainbow", None),
    ],
)  # fmt: skip
def test_shapes_and_colours_are_korean_or_english(shape, colour, meant):
    if meant:
        assert Query.of("", shape, colour) == Query("", *meant)
    else:
        with pytest.raises(DataError, match="하양 \\(white\\)"):
            Query.of("", shape, colour)
