"""Invented drug records: names, makers, EDI codes and permit data, in the format of the labels."""

from dataclasses import dataclass

import numpy as np

FIRST = (
    ("가람", "Garam"), ("나루", "Naru"), ("다솜", "Dasom"), ("라온", "Raon"), ("마루", "Maru"),
    ("바론", "Baron"), ("새벽", "Saebyeok"), ("아라", "Ara"), ("자담", "Jadam"),
    ("차오름", "Chaoreum"),
    ("카논", "Kanon"), ("타래", "Tarae"), ("파랑새", "Parangsae"), ("하늬", "Hanui"),
    ("미르", "Mireu"),
)  # fmt: skip
SECOND = (
    ("벨", "bel"), ("도린", "dorin"), ("목스", "mox"), ("세란", "seran"), ("펜트", "pent"),
    ("졸릭", "zolic"), ("디움", "dium"), ("로빈", "robin"), ("누스", "nus"), ("티론", "tiron"),
    ("베큐", "bekyu"), ("솔민", "solmin"), ("나딘", "nadin"), ("그레", "gre"), ("포릴", "poril"),
)  # fmt: skip
COMPANIES = (
    ("가온별제약(주)", "Gaonbyeol Pharm"), ("누리샘제약(주)", "Nurisaem Pharm"),
    ("(주)다올약품", "Daol Yakpum"), ("솔내음제약(주)", "Solnaeum Pharm"),
    ("(주)윤슬바이오제약", "Yunseul Biopharm"), ("해오름약품(주)", "Haeoreum Yakpum"),
    ("(주)도담제약", "Dodam Pharm"), ("온새미로제약(주)", "Onsaemiro Pharm"),
)  # fmt: skip
MATERIALS = (
    ("가라멘트산염", "Garamentate"), ("나루필수화물", "Narufil Hydrate"),
    ("도리논나트륨", "Dorinone Sodium"), ("벨목신", "Belmoxin"), ("세라니드", "Seranide"),
    ("티로졸염산염", "Tirozole Hydrochloride"),
)  # fmt: skip
CLASSES = ("[01140]해열.진통.소염제", "[02140]혈압강하제", "[02320]소화성궤양용제", "[06180]항생제")
STRENGTHS = (5, 10, 20, 25, 50, 75, 100, 150, 200, 250, 300, 500)


@dataclass(frozen=True)
class DrugRecord:
    """The record of a code; `edi_codes`: a comma list, empty or null; `bare`: 18 nulls."""

    name: str
    name_en: str
    company: str
    company_en: str
    material: str
    material_en: str
    therapy: str
    etc_otc: str
    edi_codes: str | None
    item_seq: int
    permit_date: str
    change_date: str | None
    dl_idx: str
    bare: bool


def invent_drug(index: int, code: str, capsule: bool, rng: np.random.Generator) -> DrugRecord:
    """The `index`-th record of a tree; the first 2,700 names are unique."""
    (first, first_en), (second, second_en) = FIRST[index % 15], SECOND[index // 15 % 15]
    strength = STRENGTHS[(7 * index + 2 * (index // 225)) % len(STRENGTHS)]
    form, form_en = ("캡슐", "Capsule") if capsule else ("정", "Tablet")
    company, company_en = COMPANIES[int(rng.integers(len(COMPANIES)))]
    material, material_en = MATERIALS[int(rng.integers(len(MATERIALS)))]
    year, month, day = (int(rng.integers(*span)) for span in ((1985, 2019), (1, 13), (1, 29)))
    return DrugRecord(
        name=f"{first}{second}{form} {strength}mg",
        name_en=f"{first_en}{second_en} {form_en} {strength}mg",
        company=company,
        company_en=company_en,
        material=f"{material} {strength}mg",
        material_en=f"{material_en} {strength}mg",
        therapy=CLASSES[int(rng.integers(len(CLASSES)))],
        etc_otc="일반의약품" if rng.random() < 0.3 else "전문의약품",
        edi_codes=_edi_codes(index, int(code[2:])),
        item_seq=year * 100_000 + int(code[4:]),
        permit_date=f"{year}{month:02d}{day:02d}",
        change_date=None if index % 9 == 4 else f"20{index % 8 + 13}0{index % 9 + 1}{day:02d}",
        dl_idx=str(int(code[2:]) - 899_999),
        bare=index % 37 == 5,
    )


def _edi_codes(index: int, number: int) -> str | None:
    """15 of 20 records have a comma list of up to 3 codes, the others one, "" or null."""
    turn = index % 20
    if turn == 7:
        return None
    if turn in (3, 16):
        return ""
    single = f"6{number:06d}90"
    if turn in (11, 18):
        return single
    shared = f"A99{index - 1 if turn == 9 else index:06d}"  # the 9th shares one with the 8th
    return ",".join([single, shared, f"6{number:06d}80"][: 3 if turn in (2, 13) else 2])
