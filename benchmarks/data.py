"""Times fingerprint and build_manifest on a synthetic tree against the predecessor's programs.

    python benchmarks/data.py --photos 100000 --rounds 3
    python benchmarks/data.py --whole 2600000       # the whole download's names, once

The public project that this one follows chose photos with one program; another made a table of
labels and checked it. The two together do less than build_manifest, which checks names, labels and
boxes, keeps all labels of a combination and capture groups whole. All run in fresh processes, in
turns, on the same tree of small files, with the same libraries; the other project's texts are
Python objects, as pandas kept them when it was written. Printed are medians of wall time, CPU time
of a process and its workers, and peak memory of the process and its largest worker.
"""

import argparse
import ctypes
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import active_children
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import orjson

PILLS_PER_COMBINATION = 4
TEXTS = ("di_edi_code", "drug_N", "dl_name", "drug_shape", "print_front", "print_back")
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


WHOLE_ARCHIVES = 100  # of photos, and as many of labels
VIEWS_OF_GROUP = 29  # of 18 capture groups: 522 photos a code


def make_download(root: Path, photos: int) -> None:
    """Archives with the names of a download: sizes and offsets, no bytes of photos or labels."""
    codes = [f"K-{number:06d}" for number in range(1, photos // (18 * VIEWS_OF_GROUP) + 1)]
    groups = list(itertools.product(range(3), range(2), range(3)))
    views = [(latitude, at * 20) for latitude in (60, 70, 75, 90) for at in range(18)]
    for number in range(WHOLE_ARCHIVES):
        stems = [
            f"{code}/{code}_0_{back}_{side}_{light}_{latitude}_{longitude:03d}_200"
            for code in codes[number::WHOLE_ARCHIVES]
            for back, side, light in groups
            for latitude, longitude in views[:VIEWS_OF_GROUP]
        ]
        _write_names(root / f"TS_{number + 1}_단일.zip", [f"{stem}.png" for stem in stems])
        labels = [f"{stem.replace('/', '_json/', 1)}.json" for stem in stems]
        _write_names(root / f"TL_{number + 1}_단일.zip", labels)


def _write_names(path: Path, names: list[str]) -> None:
    """An archive whose central directory lists these members; none of them can be read."""
    size = 1_700_000 if names[0].endswith("png") else 2_000
    with ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            entry = ZipInfo(name)
            entry.file_size = entry.compress_size = size
            entry.CRC, entry.header_offset = 0, number * size  # past 4 GB zip64, as in the download
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]  # writes the directory on close


def _peak_mb(process: int | str | None) -> float:
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def whole(photos: int) -> None:
    """Scan, fingerprint, match and choose for stage 4: seconds and peak memory of each step."""
    from pillsnap import params
    from pillsnap.aihub import reading
    from pillsnap.aihub import tree as aihub
    from pillsnap.dataset.findings import Findings
    from pillsnap.formats import fingerprint
    from pillsnap.manifest import candidates
    from pillsnap.manifest.choice import Chooser
    from pillsnap.manifest.classes import UnknownPills
    from pillsnap.stage import pool

    with tempfile.TemporaryDirectory() as folder, reading.without_gc():
        root = Path(folder)
        make_download(root, photos)
        begun_s = time.monotonic()

        def report(step: str) -> None:
            own, *others = map(_peak_mb, ["self", *(one.pid for one in active_children())])
            every = f"{own:,.0f} | {max(others, default=0):,.0f}"
            print(f"| {step} | {time.monotonic() - begun_s:.1f} | {every} |", flush=True)

        steps: list[tuple[int, float]] = []
        ends_s: list[float] = []  # as the progress line estimates them, from its second report on

        def progress(done: int, total: int) -> None:
            steps.append((done, time.monotonic() - begun_s))
            if len(steps) > 1:
                (first, first_s), (_, now_s) = steps[0], steps[-1]
                ends_s.append(now_s + (total - done) * (now_s - first_s) / (done - first))

        print("| after | s | peak MB | of a worker |\n|---|---|---|---|")
        report("start")
        with pool.workers(2, reading.__name__, "") as spread:
            tree = aihub.scan(root, spread, progress)
            report(f"scan of {sum(len(one.names) for one in tree.folders):,} names")
        fingerprint.of(tree)
        report("fingerprint")
        found = candidates.collect(tree, Findings())
        report(f"{len(found.stems):,} candidates")
        stage = params.load().scales["stage4"]
        wanted = stage.model_copy(
            update={
                "combination_share": 0.0,
                "samples": min(stage.samples, photos // 5),
                "classes": min(stage.classes, len(found.codes) * 4 // 5),
            }
        )
        choice = Chooser(found, wanted, UnknownPills(0, 0), "stage4", 17).choose(found.complete)
        report(f"choice of {(choice.split >= 0).sum():,} photos of {len(choice.classes):,} classes")
        every = [found.photo_path(frame) for frame in range(len(found.stems))]
        chosen = [path for path, split in zip(every, choice.split, strict=True) if split >= 0]
        balance(every, report)
        balance(chosen, report)
        merge(chosen, root, report)
        print(f"ends of the scan that its progress gave: {[round(end_s) for end_s in ends_s]} s")


def balance(paths: list[str], report: Callable[[str], None]) -> None:
    """Sizes of the parts that `pillsnap validate --part` makes of the paths."""
    from pillsnap.validation import parts
    from pillsnap.validation.prepare import FrameTask

    tasks = [FrameTask(path, Path(), (), (1, 1), frozenset()) for path in paths]
    for count in (8, 100):
        sizes = [len(share) for share in parts.split(tasks, count)]
        mean = len(tasks) / count
        worst = max(max(sizes) - mean, mean - min(sizes)) / mean
        report(f"{len(tasks):,} photos in {count} parts, at most {worst:.1%} from their mean")


def merge(paths: list[str], folder: Path, report: Callable[[str], None]) -> None:
    """Eight parts with a crop of 0 bytes per photo, joined and looked up as validate does."""
    from pillsnap.validation import parts
    from pillsnap.validation.parts import Part
    from pillsnap.validation.prepare import FrameTask
    from pillsnap.validation.work_store import Kind, Prepared, PreparedPicture, WorkStore

    crop = (PreparedPicture(Kind.CROP, b"", 1),)
    kinds = frozenset([Kind.CROP])
    tasks = [FrameTask(path, Path(), (), (1, 1), kinds, key=path) for path in paths]
    for number, share in enumerate(parts.split(tasks, 8), start=1):
        with WorkStore(Part(number, 8).store(folder, "v")) as store:
            store.add(Prepared(task.key, "c" * 32, "p" * 32, crop) for task in share)
            store.finish(parts.contents(share))
    report("8 parts stored, without pixels")
    with WorkStore(folder / "v.sqlite") as store:
        parts.join(folder, "v", tasks, store)
        report("8 parts joined")
        assert len(store.hashes()) == len(tasks)
        report("hashes of all photos read")


def ours_fingerprint(root: Path, out: Path, samples: int) -> None:
    """What `pillsnap fingerprint` does."""
    from pillsnap.formats import fingerprint

    fingerprint.write(out / "fingerprint.json", "stage3", fingerprint.take(root))


def ours_build(root: Path, out: Path, samples: int) -> None:
    """What build_manifest does, the fingerprint's check included."""
    from pillsnap import params
    from pillsnap.aihub import reading
    from pillsnap.formats import fingerprint
    from pillsnap.manifest import build, tables

    committed = params.load()
    wanted = committed.scales["stage3"].model_copy(
        update={"samples": samples, "classes": samples // 100, "combination_share": 0.04}
    )
    recorded = fingerprint.read(out / "fingerprint.json")
    there = committed.model_copy(update={"scale": "stage3", "scales": {"stage3": wanted}})
    with reading.without_gc():
        tables.write(build.build(root, there, recorded, lambda done, total: None), out)


def predecessor_photos(root: Path, out: Path, samples: int) -> None:
    """The predecessor's manifest creator, reimplemented: photos only, no labels.

    A glob for .jpg and one for .png in each class folder; the best filled classes; 95 single
    photos and up to 5 combinations of each, filled up from the list of those not taken; a dict
    per photo; a data frame that is filtered once for every class to split it 80 : 20.
    """
    import pandas as pd

    chance = random.Random(42)
    found: dict[str, dict[str, list[Path]]] = {}
    for kind in ("single", "combination"):
        for shard in sorted((root / "train/images" / kind).glob("TS_*")):
            for folder in filter(Path.is_dir, shard.iterdir()):
                photos = [*folder.glob("*.jpg"), *folder.glob("*.png")]
                of_code = found.setdefault(folder.name, {"single": [], "combination": []})
                of_code[kind].extend(photos)
    filled = [(code, sum(map(len, kinds.values()))) for code, kinds in found.items()]
    filled = sorted((one for one in filled if one[1] >= 80), key=lambda one: one[1], reverse=True)
    rows: list[dict[str, str]] = []
    for code, _ in filled[: samples // 100]:
        single, combined = found[code]["single"], found[code]["combination"]
        chosen = {
            "single": chance.sample(single, min(95, len(single))),
            "combination": chance.sample(combined, min(5, len(combined))),
        }
        short = 100 - sum(map(len, chosen.values()))
        rest = [photo for photo in single if photo not in chosen["single"]]
        chosen["single"] += chance.sample(rest, min(short, len(rest)))
        for kind, photos in chosen.items():
            for photo in photos:
                row = {"image_path": str(photo), "mapping_code": code, "image_type": kind}
                rows.append({**row, "source": "train"})
    table = pd.DataFrame(rows, dtype=object)
    table = table.sample(frac=1, random_state=42).reset_index(drop=True)
    train, val = [], []
    for code in table["mapping_code"].unique():
        of_code = table[table["mapping_code"] == code]
        held = max(1, int(len(of_code) * 0.2))
        of_code = of_code.sample(frac=1, random_state=42)
        val.append(of_code.iloc[:held])
        train.append(of_code.iloc[held:])
    for name, parts in (("train", train), ("val", val)):
        whole = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=42)
        whole.to_csv(out / f"predecessor_{name}.csv", index=False)


def predecessor_labels(root: Path, out: Path, samples: int) -> Any:
    """The predecessor's table of labels, reimplemented: what its creator leaves out.

    os.walk with a Path per file; photos and labels matched by stem (one label for each photo, so
    most of a combination's are lost); every path resolved, and asked for again whether it is
    there, each time after a test for a missing value; json; row-wise apply; the CSV read back.
    """
    import pandas as pd

    files: dict[str, dict[str, str]] = {".png": {}, ".json": {}}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if path.suffix.lower() in files:
                files[path.suffix.lower()].setdefault(path.stem, str(path))
    photos, labels = files.values()
    table = pd.DataFrame(
        [
            {
                "image_path": photos.get(stem),
                "label_path": labels.get(stem),
                "code": stem,
                "is_pair": stem in photos and stem in labels,
            }
            for stem in photos.keys() | labels.keys()
        ],
        dtype=object,
    )

    def resolved(path: str | None) -> str | None:
        return None if path is None or pd.isna(path) else str(Path(path).resolve())

    def is_there(row: Any, name: str) -> bool:
        if row[name] is None or pd.isna(row[name]):
            return False
        return Path(row[name]).exists()

    for column in ("image_path", "label_path"):
        table[column] = table[column].apply(resolved)
    for column in ("image_path", "label_path"):
        table = table[table.apply(is_there, axis=1, name=column)]
    table = table.drop_duplicates(subset=["code"], keep="last")
    texts = pd.DataFrame(table["label_path"].apply(_predecessor_label).tolist())
    for column in texts.columns:
        table[column] = texts[column].to_numpy()
    table.apply(
        lambda row: (
            row["code"].startswith(row["mapping_code"])
            if row["mapping_code"] and row["code"]
            else None
        ),
        axis=1,
    )
    table = table.sort_values(["code", "image_path", "label_path"]).reset_index(drop=True)
    table.to_csv(out / "predecessor_labels.csv", index=False)
    assert len(pd.read_csv(out / "predecessor_labels.csv")) == len(table)
    return table


def predecessor_checks(root: Path, out: Path, samples: int) -> None:
    """The same table, then the checks that the predecessor's program makes of it at once.

    Duplicate codes; for each row of iterrows whether photo and label exist.
    """
    import pandas as pd

    table = predecessor_labels(root, out, samples)
    assert not table["code"].duplicated().sum()
    absent = 0
    for _, row in table.iterrows():
        for name in ("image_path", "label_path"):
            if row[name] is not None and not pd.isna(row[name]):
                absent += not Path(row[name]).exists()
            elif row["is_pair"]:
                absent += 1
    assert not absent


def _predecessor_label(path: str) -> dict[str, Any]:
    file = Path(path)
    assert file.exists()
    with file.open(encoding="utf-8") as content:
        image = json.load(content)["images"][0]
    return {"mapping_code": image.get("dl_mapping_code"), **{key: image.get(key) for key in TEXTS}}


JOBS: dict[str, Callable[[Path, Path, int], Any]] = {
    "fingerprint": ours_fingerprint,
    "build_manifest": ours_build,
    "predecessor, photos": predecessor_photos,
    "predecessor, labels": predecessor_labels,
    "predecessor, labels and checks": predecessor_checks,
}


def measure(job: str, root: Path, out: Path, samples: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a job in a process of its own."""
    command = [sys.executable, __file__, "--job", job, "--root", str(root), "--out", str(out)]
    os.sync()  # what others wrote is not this job's to wait for
    read_through(root)
    begun_s = time.monotonic()
    process = subprocess.Popen([*command, "--samples", str(samples)])
    _, status, own = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begun_s
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, job
    every = [own, *orphans()]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in every)
    peak_kb = own.ru_maxrss + max((one.ru_maxrss for one in every[1:]), default=0)
    return wall_s, cpu_s, peak_kb / 1024


def adopt_orphans() -> None:
    """Ask Linux that processes whose parent has ended become children of this one."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def orphans() -> list[resource.struct_rusage]:
    """What processes used that the last job left behind: the server of its workers, with them."""
    found = []
    with suppress(ChildProcessError):
        while True:
            found.append(os.wait3(0)[2])
    return found


def read_through(root: Path) -> None:
    """Bring the tree into the page cache: kernels drop what rests while another job runs."""
    for folder, _, names in os.walk(root):
        for name in names:
            Path(folder, name).read_bytes()


def compare(photos: int, rounds: int, jobs: list[str]) -> None:
    """Print the medians of `rounds` turns of each job on a tree of `photos` photos."""
    adopt_orphans()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "tree", Path(folder) / "out"
        out.mkdir()
        make_tree(root, photos)
        measured: dict[str, list[tuple[float, float, float]]] = {job: [] for job in jobs}
        for _ in range(rounds):
            for job in jobs:
                measured[job].append(measure(job, root, out, photos))
        print(f"{photos:,} photos, {rounds} rounds in turns, {os.cpu_count()} cores")
        print("| job | s | CPU-s | peak MB |\n|---|---|---|---|")
        for job, runs in measured.items():
            wall_s, cpu_s, peak_mb = (statistics.median(one) for one in zip(*runs, strict=True))
            print(f"| {job} | {wall_s:.2f} | {cpu_s:.2f} | {peak_mb:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-predecessor", action="store_true")
    parser.add_argument("--whole", type=int, metavar="PHOTOS", help="of a download of archives")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        JOBS[asked.job](asked.root, asked.out, asked.samples)
    elif asked.whole:
        whole(asked.whole)
    else:
        compare(
            asked.photos,
            asked.rounds,
            [job for job in JOBS if not (asked.skip_predecessor and "predecessor" in job)],
        )


if __name__ == "__main__":
    main()
