"""Turns a rearranged tree (make.aihub_tree) into what AI Hub's download leaves on a disk.

download(tree, root, packed=lambda shard: shard.startswith("TL"))   # labels zipped, photos not
"""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

OUTER = "166.약품식별 인공지능 개발을 위한 경구약제 이미지 데이터/01.데이터"
KOREAN = {
    "train": "1.Training", "val": "2.Validation", "images": "원천데이터", "labels": "라벨링데이터",
    "single": "단일경구약제 5000종", "combination": "경구약제조합 5000종",
}  # fmt: skip


class Cp949(ZipInfo):
    """An entry whose name is in cp949 without the UTF-8 flag, as Korean Windows writes it."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp949"), self.flag_bits


def download(
    tree: Path,
    root: Path,
    *,
    packed: Callable[[str], bool] = lambda shard: False,
    method: int = ZIP_DEFLATED,
    inside: str = "",
    shards: bool = True,
    spelt: Callable[[str], str] = str,
) -> Path:
    """Copy `tree` to `root` in the download's layout; the shards that `packed` names as archives.

    `inside`: a folder around the members; `shards`: unpacked into a folder per archive; `spelt`:
    changes each path below the root. Every other archive stores its photos.
    """
    for number, shard in enumerate(sorted(tree.glob("*/*/*/*"))):
        part, kind, image_type, name = shard.relative_to(tree).parts
        name = name.replace("single", "단일").replace("combo", "조합")
        folder = "/".join([OUTER, *(KOREAN[one] for one in (part, kind, image_type))])
        members = sorted(path for path in shard.rglob("*") if path.is_file())
        if packed(name):
            archive = root / spelt(f"{folder}/{name}.zip")
            archive.parent.mkdir(parents=True, exist_ok=True)
            with ZipFile(archive, "w", method if number % 2 else ZIP_STORED) as file:
                for path in members:
                    entry = Cp949(inside + path.relative_to(shard).as_posix())
                    entry.compress_type = file.compression
                    file.writestr(entry, path.read_bytes())
            continue
        for path in members:
            inner = path.relative_to(shard).as_posix()
            target = root / spelt("/".join([folder, *([name] * shards), inner]))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return root


def flip_bit(path: Path) -> None:
    """Flip a bit in the middle of the bytes that an archive stores of a member."""
    archive, member = str(path).split(".zip/")
    with ZipFile(f"{archive}.zip", metadata_encoding="cp949") as file:
        entry = file.getinfo(member)
    with Path(f"{archive}.zip").open("r+b") as file:
        header = file.seek(entry.header_offset + 26) + 4
        lengths = struct.unpack("<HH", file.read(4))
        at = header + sum(lengths) + entry.compress_size // 2
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
