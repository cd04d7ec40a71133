"""Limits of control groups of both versions, in trees written as kernels and containers do."""

import os

import psutil
import pytest

from pillsnap.stage import cgroup, hardware

GIB = 1 << 30
V1_UNLIMITED = "9223372036854771712"
CASES = {
    # name: (/proc/self/cgroup, files under /sys/fs/cgroup, cores, (limit, free))
    "nothing is mounted": ("", {}, None, None),
    "v2 without a limit": (
        "0::/user.slice\n",
        {"cgroup.controllers": "cpu memory", "user.slice/cpu.max": "max 100000",
         "user.slice/memory.max": "max", "user.slice/memory.current": "5"},
        None, None,
    ),
    "v2 in a container": (
        "0::/\n",
        {"cgroup.controllers": "cpu memory", "cpu.max": "150000 100000",
         "memory.max": str(4 * GIB), "memory.current": str(3 * GIB),
         "memory.stat": f"anon 1\ninactive_file {GIB}\nactive_file 7"},
        1.5, (4 * GIB, 2 * GIB),
    ),
    "v2, the lowest limit of a parent": (
        "0::/a.slice/b.scope\n",
        {"cgroup.controllers": "cpu memory", "a.slice/cpu.max": "200000 100000",
         "a.slice/b.scope/cpu.max": "800000 100000", "a.slice/memory.max": str(2 * GIB),
         "a.slice/memory.current": str(GIB), "a.slice/b.scope/memory.max": str(8 * GIB),
         "a.slice/b.scope/memory.current": "0"},
        2.0, (2 * GIB, GIB),
    ),
    "v1 in docker, where the host's path is not there": (
        "12:memory:/docker/0123\n5:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker/0123\n",
        {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000",
         "memory/memory.limit_in_bytes": str(GIB), "memory/memory.usage_in_bytes": str(GIB),
         "memory/memory.stat": f"cache 9\ninactive_file 3\ntotal_inactive_file {GIB // 4}"},
        4.0, (GIB, GIB // 4),
    ),
    "v1 without a limit": (
        "4:memory:/x\n1:cpu:/x\n0::/\n",
        {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000",
         "memory/x/memory.limit_in_bytes": V1_UNLIMITED, "memory/memory.usage_in_bytes": "7"},
        None, None,
    ),
    "v1 beside v2 (hybrid)": (
        "4:memory:/x\n1:cpu:/x\n0::/x\n",
        {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000",
         "memory/x/memory.limit_in_bytes": str(GIB), "memory/x/memory.usage_in_bytes": "0",
         "unified/cgroup.controllers": ""},
        0.5, (GIB, GIB),
    ),
    "more in use than allowed": (
        "0::/\n",
        {"cgroup.controllers": "memory", "memory.max": "100", "memory.current": "200"},
        None, (100, 0),
    ),
    "damaged": (
        "0::/\nno colons\n::\n",
        {"cgroup.controllers": "", "cpu.max": "1 0", "memory.max": "", "memory.stat": "a b\nc"},
        None, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_limits_are_the_lowest_of_the_group_and_those_above_it(tmp_path, name):
    own, files, cores, memory = CASES[name]
    (tmp_path / "own").write_text(own)
    for path, content in files.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text(content + "\n")
    assert cgroup.cores(tmp_path / "root", tmp_path / "own") == cores
    assert cgroup.memory(tmp_path / "root", tmp_path / "own") == memory


@pytest.mark.parametrize(("quota", "cores"), [(None, None), (0.5, 1), (1.9, 1), (1e6, None)])
def test_cores_are_those_of_the_quota_where_it_is_lower(monkeypatch, quota, cores):
    monkeypatch.setattr(cgroup, "cores", lambda: quota)
    assert hardware.cpu_count() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("limit", [None, (1 << 62, 1 << 61), (1 << 20, 1 << 10)])
def test_memory_is_that_of_the_group_where_it_is_less(monkeypatch, limit):
    monkeypatch.setattr(cgroup, "memory", lambda: limit)
    machine, found = psutil.virtual_memory().total, hardware.memory_bytes()
    assert found == limit if limit and limit[0] < machine else found.total == machine
    assert 0 < found.free <= found.total
