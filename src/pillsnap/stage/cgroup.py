"""Limits on cores and memory that control groups (cgroup v1 and v2) set in containers."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 60  # v1 writes "no limit" as a number near 2**63


def cores(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Cores by the quota of processor time; None where there is none."""
    limits = []
    for folder in _folders("cpu", root, own):
        # v2: "150000 100000", microseconds of time in each period, or "max 100000"
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        quota = quota or _read(folder / "cpu.cfs_quota_us") or "max"
        period = period or _read(folder / "cpu.cfs_period_us") or "100000"
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory(root: Path = ROOT, own: Path = OWN) -> tuple[int, int] | None:
    """Bytes of the lowest limit and bytes that are free below every limit; None without a limit.

    Files in the page cache that nothing has used lately count as free, as for `free`.
    """
    limits, free = [], []
    for folder in _folders("memory", root, own):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or "max"
        used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes") or "0"
        if limit.isdigit() and int(limit) < UNLIMITED_BYTES:
            limits.append(int(limit))
            free.append(max(0, int(limit) - int(used) + _inactive_file(folder)))
    return (min(limits), min(free)) if limits else None


def _folders(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The group of this process and those above it, which limit it as well.

    In a container the path may be that of the host, of which only the last part is visible.
    """
    for line in (_read(own) or "").splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if not names:
            base = root if (root / "cgroup.controllers").exists() else root / "unified"
        elif controller in names.split(","):
            base = root / names if (root / names).exists() else root / controller
        else:
            continue
        group = base / path.strip("/")
        yield group
        yield from (folder for folder in group.parents if folder.is_relative_to(base))


def _inactive_file(folder: Path) -> int:
    """Bytes of the page cache that go first; v1 counts groups below under another name."""
    lines = (line.split() for line in (_read(folder / "memory.stat") or "").splitlines())
    stat = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
    return stat.get("total_inactive_file", stat.get("inactive_file", 0))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
