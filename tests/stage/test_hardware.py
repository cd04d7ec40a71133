"""Hardware samples: present without a GPU, absent rather than zero."""

from pathlib import Path

from pillsnap.stage import hardware
from pillsnap.stage.hardware import HardwareSampler


def test_cpu_ram_and_disk_are_always_there():
    sample = HardwareSampler(Path()).newest()
    assert sample["ram_total_mb"] > sample["ram_used_mb"] > 0
    assert sample["disk_free_gb"] > 0
    assert 0 <= sample["cpu_pct"] <= 100


def test_mean_averages_numbers_and_keeps_text():
    samples = [{"a": 1.0, "gpu_name": "x"}, {"a": 3.0, "gpu_name": "x"}, {"b": 5.0}]
    assert hardware.mean_of(samples) == {"a": 2.0, "gpu_name": "x", "b": 5.0}
