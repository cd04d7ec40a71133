"""Times fingerprint and build_manifest on a made tree against the plain way of doing the same job.

    python benchmarks/data.py --photos 100000 --rounds 3

The plain way: pathlib globs, json, and pandas loops over the classes. Both run in fresh processes,
in turns, on the same tree of small files; printed are medians of wall time and peak memory
(of the process and, for ours, the largest of its workers).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

PILLS_PER_COMBINATION = 4
LABEL = {
    "images": [
        {
            "file_name": "@stem.png", "width": 976, "height": 1280, "imgfile": "@stem.png",
            "drug_N": "@code", "drug_S": "정상알약", "back_color": "연회색 배경",
            "drug_dir": "앞면", "light_color": "주광색", "camera_la": -70, "camera_lo": -1,
            "size": 200, "dl_idx": "29", "dl_mapping_code": "@code", "dl_name": "시험정 @code",
            "dl_name_en": "Test Tablet", "img_key": "http://example.invalid/cdn/@code",
            "dl_material": "시험성분 무수물", "dl_material_en": "Testine Anhydrous",
            "dl_custom_shape": "정제, 저작정", "dl_company": "시험제약(주)",
            "dl_company_en": "Test Pharmaceutical", "di_company_mf": "", "di_company_mf_en": "",
            "item_seq": 196000001, "di_item_permit_date": "19600101",
            "di_class_no": "[06150]주로 그람양성, 음성균, 리케치아, 비루스에 작용하는 것",
            "di_etc_otc_code": "전문의약품", "di_edi_code": "643303740,A01200351",
            "chart": "이 약은 상부 청록색, 하부 갈색의 경질캡슐제이다.", "drug_shape": "장방형",
            "thick": 6.35, "leng_long": 17.6, "leng_short": 6.2, "print_front": "CKD 250",
            "print_back": "", "color_class1": "갈색", "color_class2": "청록", "line_front": "",
            "line_back": "", "img_regist_ts": "2016-08-22T00:00:00", "mark_code_front": "",
            "form_code_name": "경질캡슐제, 산제", "mark_code_front_anal": "", "mark_code_back": "",
            "mark_code_back_anal": "", "mark_code_front_img": "", "mark_code_back_img": "",
            "change_date": "20200313", "id": 1,
        }
    ],
    "type": "instances",
    "annotations": [
        {
            "area": 105469, "iscrowd": 0, "bbox": [-266, 546, 427, 247], "category_id": 1,
            "ignore": 0, "segmentation": [], "id": 1, "image_id": 1,
        }
    ],
    "categories": [{"supercategory": "pill", "id": 1, "name": "Drug"}],
}  # fmt: skip
TEMPLATE = orjson.dumps(LABEL).decode()


def make_tree(root: Path, photos: int) -> None:
    """`photos` tiny photos with labels of real size: 2 % combinations, 100 photos a code."""
    codes = [f"K-{number:06d}" for number in range(1, photos // 98 + 1)]
    singles = photos - photos // 50
    for number, code in enumerate(codes):
        share = singles // len(codes) + (number < singles % len(codes))
        folder, shard = code, f"{number // 50 + 1}_single"
        views = [(turn % 18, turn // 18) for turn in range(share)]
        stems = [
            f"{code}_0_{group % 3}_{group // 9}_{group // 3 % 3}_{(70, 75, 90, 60)[at % 4]}"
            f"_{at * 20 % 360:03d}_200"
            for group, at in views
        ]
        _write(root, "single", shard, folder, stems, [code])
    for number in range(photos // 150):
        start = number * 3 % (len(codes) - 8)
        chosen = [codes[start + step * 2] for step in range(PILLS_PER_COMBINATION)]
        folder = "-".join([chosen[0], *(code[2:] for code in chosen[1:])])
        stems = [f"{folder}_0_2_0_2_{latitude}_000_200" for latitude in (70, 75, 90)]
        _write(root, "combination", f"{number % 8 + 1}_combo", folder, stems, chosen)


def _write(
    root: Path, kind: str, shard: str, folder: str, stems: list[str], codes: list[str]
) -> None:
    images = root / "train/images" / kind / f"TS_{shard}" / folder
    images.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        (images / f"{stem}.png").write_bytes(b"made")
    for number, code in enumerate(codes):
        labels = root / "train/labels" / kind / f"TL_{shard}" / f"{folder}_json"
        labels = labels / code if len(codes) > 1 else labels
        labels.mkdir(parents=True, exist_ok=True)
        for stem in stems:
            latitude, longitude = stem.split("_")[5:7]
            text = TEMPLATE.replace("@stem", stem).replace("@code", code)
            text = text.replace("-70", latitude).replace(
                '"camera_lo":-1', f'"camera_lo":{int(longitude)}'
            )
            (labels / f"{stem}.json").write_text(
                text.replace("-266", str(50 + number * 100)), "utf-8"
            )


def ours_fingerprint(root: Path, out: Path, samples: int) -> None:
    """What `pillsnap fingerprint` does."""
    from pillsnap import fingerprint

    fingerprint.write(out / "fingerprint.json", "stage3", fingerprint.take(root))


def ours_build(root: Path, out: Path, samples: int) -> None:
    """What build_manifest does, the fingerprint's check included."""
    from pillsnap import fingerprint, params, selection, tables
    from pillsnap.choice import Strangers

    stage = params.load().scales["stage3"]
    wanted = stage.model_copy(update={"samples": samples, "classes": samples // 100})
    recorded = fingerprint.read(out / "fingerprint.json")
    order = selection.Order("stage3", wanted, Strangers(0, 0), 17, 0, keep_incomplete=False)
    tables.write(selection.build(root, order, recorded, lambda done, total: None), out)


def plain_build(root: Path, out: Path, samples: int) -> None:
    """The same job the plain way: glob, json, pandas loops over classes."""
    import pandas as pd

    labels = {path.stem: [] for path in sorted((root / "train/images").rglob("*.png"))}
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "train/labels").rglob("*.json")):
        labels.get(path.stem, []).append(path)
    for image in sorted((root / "train/images").rglob("*.png")):
        for path in labels[image.stem]:
            label = json.loads(path.read_text(encoding="utf-8"))
            drug, box = label["images"][0], label["annotations"][0]["bbox"]
            code, *view = image.stem.split("_")
            rows.append(
                {
                    "image_path": str(image.relative_to(root)),
                    "label_path": str(path.relative_to(root)),
                    "name": code,
                    "mapping_code": drug["dl_mapping_code"],
                    "edi_codes": drug["di_edi_code"],
                    "drug_name": drug["dl_name"],
                    "box_x": box[0],
                    "box_y": box[1],
                    "box_w": box[2],
                    "box_h": box[3],
                    "image_width": drug["width"],
                    "image_height": drug["height"],
                    "group_id": "_".join([code, *view[1:4]]) if len(code) == 8 else code,
                }
            )
    table = pd.DataFrame(rows)
    single = table[table["name"].str.len() == 8]
    combined = table[table["name"].str.len() > 8].head(samples // 20)
    codes = single["mapping_code"].value_counts().index[: samples // 100]
    train, val = [combined], []
    for code in sorted(codes):
        of_code = single[single["mapping_code"] == code]
        of_code = of_code.sample(
            min(len(of_code), samples * 19 // 20 // len(codes)), random_state=17
        )
        groups = sorted(of_code["group_id"].unique())
        held = groups[: max(1, round(len(groups) * 0.185))]
        val.append(of_code[of_code["group_id"].isin(held)])
        train.append(of_code[~of_code["group_id"].isin(held)])
    for name, parts in (("train", train), ("val", val)):
        pd.concat(parts).sort_values("image_path").to_csv(out / f"plain_{name}.csv", index=False)


JOBS: dict[str, Callable[[Path, Path, int], None]] = {
    "fingerprint": ours_fingerprint,
    "build_manifest": ours_build,
    "plain build": plain_build,
}


def measure(job: str, root: Path, out: Path, samples: int) -> tuple[float, float]:
    """Wall seconds and peak MB of a job in a process of its own."""
    command = [sys.executable, __file__, "--job", job, "--root", str(root), "--out", str(out)]
    begun_s = time.monotonic()
    done = subprocess.run(
        [*command, "--samples", str(samples)], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.monotonic() - begun_s, float(done.stdout.split()[-1])


def compare(photos: int, rounds: int, jobs: list[str]) -> None:
    """Print the medians of `rounds` turns of each job on a tree of `photos` photos."""
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "tree", Path(folder) / "out"
        out.mkdir()
        make_tree(root, photos)
        figures: dict[str, list[tuple[float, float]]] = {job: [] for job in jobs}
        for _ in range(rounds):
            for job in jobs:
                figures[job].append(measure(job, root, out, photos))
        print(f"{photos:,} photos, {rounds} rounds in turns, {os.cpu_count()} cores")
        print("| job | s | peak MB |\n|---|---|---|")
        for job, runs in figures.items():
            seconds, megabytes = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"| {job} | {seconds:.2f} | {megabytes:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-plain", action="store_true")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        JOBS[asked.job](asked.root, asked.out, asked.samples)
        used = [
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        print(sum(used) / 1024)
    else:
        compare(
            asked.photos,
            asked.rounds,
            [job for job in JOBS if job != "plain build" or not asked.skip_plain],
        )


if __name__ == "__main__":
    main()
