"""preflight, predict and dvc status where machines, accounts and clones are not as expected: each
runs to its end, or is refused in a line that helps."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from make import tiny_project
from make.tiny_project import run
from operation.test_diagnosis import FACTS
from pillsnap.operation.diagnosis import explain

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces and prlimit are Linux's"),
]  # fmt: skip
STATUS = "dvc status --json"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tiny_project.demo_run(tmp_path_factory, "with a space", "알약")


def mounted(script: str) -> tuple[str, ...]:
    """A prefix that runs a command in a mount namespace after `script`."""
    return ("unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh")


NOBODY = ("unshare", "--user", "--map-user=1042", "--map-group=1042")
NOTHING = dict.fromkeys(("HOME", "USER", "LOGNAME"))
SETTINGS = {
    **dict.fromkeys(("PIP_USER", "PIP_REQUIRE_HASHES", "UV_SYSTEM_PYTHON", "NO_COLOR"), "1"),
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9"),
    "PYTHONDONTWRITEBYTECODE": "1", "TERM": "dumb", "COLUMNS": "20", "LINES": "3",
    "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "TkAgg", "OMP_NUM_THREADS": "two", "TZ": "No/Zone",
}  # fmt: skip
CGROUP = """mkdir -p ../group; cd ../group; touch cgroup.controllers; echo 0::/ > own
echo 1500000000 > memory.max; echo 400000000 > memory.current; echo '150000 100000' > cpu.max
mount --bind own /proc/$$/cgroup; mount --bind . /sys/fs/cgroup; cd ../알약"""
NO_LIBGL = """for i in $(ldconfig -p | sed -n 's/.*libGL.so.1.* => //p')
do mount --bind /dev/null $(readlink -f $i); done"""
READ_ONLY = "for i in train val; do mount -o bind,ro data/demo/$i data/demo/$i; done"
CLONE = 'git clone -q {} "file://$PWD" ../clone; cd ../clone; ' + (
    "ln -sfn 알약 ../plain; dvc cache dir -q --local ../plain/.dvc/cache; dvc checkout -q"
)
DEMO, LIBGL = "python3 run.py demo", "sudo apt install libgl1"


class Surrounding(NamedTuple):
    """Variables (None: unset), what precedes a command, how the folder is made, and what does not
    work: words of preflight and of predict, the kind of failure of DVC."""

    variables: Mapping[str, str | None] = MappingProxyType({})
    prefix: tuple[str, ...] = ()
    clone: str = ""
    preflight: str = ""
    predict: str = ""
    status: str = ""


SURROUNDINGS = {
    "pip, uv, proxies, terminal": Surrounding(SETTINGS),
    "no HOME, no passwd entry": Surrounding(NOTHING, NOBODY, status="no_user"),
    "a HOME that is not writable": Surrounding({"HOME": "/", "LOGNAME": "me"}, NOBODY),
    "no HOME folder, no TMPDIR, no data root, ascii": Surrounding(
        {"HOME": "/no/home", "TMPDIR": "/no/tmp", "PILLSNAP_DATA_ROOT": "",
         "PYTHONIOENCODING": "ascii"},
    ),
    "~nouser, latin-1": Surrounding(
        {"PILLSNAP_DATA_ROOT": "~nouser/x", "PYTHONIOENCODING": "latin-1:strict"},
        preflight="the home folder of ~nouser is not known",
    ),
    "the C locale": Surrounding(
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, status="locale"
    ),
    "noexec TMPDIR, no network, 64 open files": Surrounding(
        {"TMPDIR": "/mnt"}, ("unshare", "--net", *mounted("mount -t tmpfs -o noexec none /mnt"),
                             "prlimit", "--nofile=64:64"),
    ),
    "a read-only data root": Surrounding({}, mounted(READ_ONLY)),
    "a read-only checkout": Surrounding(
        {}, mounted('mount -o bind,ro . .; cd "$PWD"'), preflight="is not writable",
        status="permission",
    ),
    "a container of 1.5 GB": Surrounding({}, mounted(CGROUP), preflight="1.1 GB of 1.5 GB free"),
    "no libGL": Surrounding({}, mounted(NO_LIBGL), preflight=LIBGL, predict=LIBGL),
    "the site cache of another user": Surrounding(
        {"LOGNAME": "me"}, (*mounted("mount -t tmpfs -o mode=555 none /var/tmp"), *NOBODY),
        status="site_cache",
    ),
    "a checkout of another user": Surrounding(
        clone="cp -a . ../clone; chown -R 1234 ../clone", preflight="safe.directory"
    ),
    "a worktree": Surrounding(
        clone=CLONE.replace("clone -q {} \"file://$PWD\"", "worktree add -q"), preflight=DEMO
    ),
    "a shallow clone": Surrounding(clone=CLONE.format("--depth 1"), preflight=DEMO),
    "a clone with autocrlf": Surrounding(
        clone=CLONE.format("-c core.autocrlf=true"), preflight=DEMO
    ),
}  # fmt: skip
CURED = ("no_user", "locale", "site_cache")


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_each_command_runs_to_its_end_or_is_refused_in_a_line_that_helps(project, name):
    variables, prefix, clone, *expected = SURROUNDINGS[name]
    if "chown" in clone and os.geteuid():
        pytest.skip("only root can give files away")
    folder = project.with_name("clone") if clone else project
    shutil.rmtree(project.with_name("clone"), ignore_errors=True)
    run(project, "sh", "-ec", f"git worktree prune; {clone or 'true'}")
    merged = {**tiny_project.environment(folder), **variables}.items()
    own = {key: value for key, value in merged if value is not None}
    photo = next((project / "data/demo/train/images").rglob("*.png"))
    commands = ["pillsnap preflight --json", "pillsnap predict --json ../photo.png", STATUS]
    shutil.copy(photo, project.with_name("photo.png"))

    def started(command: list[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen([*prefix, *command], cwd=folder, env=own, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    processes = [started(command.split()) for command in commands]
    answers = [(*process.communicate(), process.returncode) for process in processes]
    if answers[0][1].startswith("unshare"):
        pytest.skip(f"no namespace can be made here: {answers[0][1]}")
    for (out, err, code), words in zip(answers[:2], expected[:2], strict=True):
        assert words in out + err, err
        assert "Traceback" not in err
        assert code == (0 if not words or "safe.directory" in words else 1), err
        assert not out or json.loads(out)
    out, err, code = answers[2]
    if not expected[2]:
        assert (json.loads(out.splitlines()[-1]), code) == ({}, 0), err
        return
    found = explain(code, err, FACTS)
    assert (found.kind, code != 0) == (expected[2], True), err
    if found.kind in CURED:
        cure = found.cures[0].replace("pillsnap train", "true")
        out, err = started(["sh", "-ec", f"{cure}; {STATUS}"]).communicate()
        assert json.loads(out.splitlines()[-1]) == {}, err
