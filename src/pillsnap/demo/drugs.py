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
    """The label `fields` of a drug in their order; `bare` labels have 18 nulls."""

    fields: dict[str, object]
    change_date: str | None
    bare: bool


def invent_drug(index: int, code: str, form: str, rng: np.random.Generator) -> DrugRecord:
    """The `index`-th record of a tree; the first 2,700 names are unique."""
    (first, first_en), (second, second_en) = FIRST[index % 15], SECOND[index // 15 % 15]
    strength = STRENGTHS[(7 * index + 2 * (index // 225)) % len(STRENGTHS)]
    capsule = "캡슐" in form
    company, company_en = COMPANIES[int(rng.integers(len(COMPANIES)))]
    material, material_en = MATERIALS[int(rng.integers(len(MATERIALS)))]
    year, month, day = (int(rng.integers(*span)) for span in ((1985, 2019), (1, 13), (1, 29)))
    fields = {
        "dl_idx": str(int(code[2:]) - 899_999),
        "dl_mapping_code": code,
        "dl_name": f"{first}{second}{'캡슐' if capsule else '정'} {strength}mg",
        "dl_name_en": f"{first_en}{second_en} {'Capsule' if capsule else 'Tablet'} {strength}mg",
        "img_key": f"http://pill.invalid/img/{code}.jpg",
        "dl_material": f"{material} {strength}mg",
        "dl_material_en": f"{material_en} {strength}mg",
        "dl_custom_shape": f"{'캡슐' if capsule else '정제'}, {form.split(',')[0]}",
        "dl_company": company,
        "dl_company_en": company_en,
        "di_company_mf": company,
        "di_company_mf_en": company_en,
        "item_seq": year * 100_000 + int(code[4:]),
        "di_item_permit_date": f"{year}{month:02d}{day:02d}",
        "di_class_no": CLASSES[int(rng.integers(len(CLASSES)))],
        "di_etc_otc_code": "일반의약품" if rng.random() < 0.3 else "전문의약품",
        "di_edi_code": _edi_codes(index, int(code[2:])),
    }
    changed = None if index % 9 == 4 else f"20{index % 8 + 13}0{index % 9 + 1}{day:02d}"
    return DrugRecord(fields, changed, bare=index % 37 == 5)


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
