"""Two hosts train together: two network namespaces of one machine act as hosts."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest

from make import training_project as project

INTERFACE = "pill0"
ADDRESSES = ("10.177.0.1", "10.177.0.2")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def namespaces(stack):
    """Names of two network namespaces joined by a cable; skips where there can be none."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"pillsnap-{os.getpid()}-{number}" for number in (0, 1)]
    try:
        for name in names:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "delete", name)
        ends = [argument for name in names for argument in ("name", INTERFACE, "netns", name)]
        ip("link", "add", *ends[:4], "type", "veth", "peer", *ends[4:])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            ip("-n", name, "link", "set", INTERFACE, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    return names


def start(folder, namespace, number):
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        "--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400",
        "--rdzv-id=pills", f"--rdzv-conf=is_host={int(number == 0)}",
        f"--local-addr={ADDRESSES[number]}",
    ]  # fmt: skip
    return project.start(
        folder, "ip", "netns", "exec", namespace, *torchrun,
        GLOO_SOCKET_IFNAME=INTERFACE, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_a_host_that_is_lost_and_comes_back_changes_nothing(tmp_path, task):
    with ExitStack() as stack:
        names = namespaces(stack)
        folders = [project.make_two(tmp_path / str(n), task) for n in (0, 1)]
        first, second = (start(folders[n], names[n], n) for n in (0, 1))
        stack.callback(first.kill)
        project.begun(folders[0], first)
        second.kill()
        second.wait()
        second = start(folders[1], names[1], 1)
        stack.callback(second.kill)
        assert first.wait() == 0, project.printed(folders[0])
        assert second.wait() == 0, project.printed(folders[1])
        assert len(project.events(folders[0], "start")) == 2
        assert not project.published(folders[1]).exists()
        lost = project.weights_hash(folders[0])
    assert lost == project.finish(project.make_two(tmp_path / "one host", task))
