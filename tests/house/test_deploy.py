"""deploy/: the Slurm script runs its jobs, and the images install and start what exists."""

import json
import re
import shlex
import subprocess
import tomllib

import pytest
from typer.main import get_command

from make import tiny_project
from make.import_graph import ROOT
from pillsnap.cli import app

DEPLOY = ROOT / "deploy"
COMMANDS = get_command(app).commands


def options(command):
    return {name for one in COMMANDS[command].params for name in one.opts}


def test_files_are_these_and_the_script_is_bash():
    names = ["Dockerfile.serve", "Dockerfile.train", "slurm.sbatch"]
    assert sorted(path.name for path in DEPLOY.iterdir()) == names
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sbatch"], check=True)


@pytest.mark.parametrize("name", ["Dockerfile.serve", "Dockerfile.train"])
def test_an_image_copies_installs_and_starts_what_exists(name):
    text = (DEPLOY / name).read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"^COPY (.*)", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()[:-1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(re.findall(r"\[(\w+)\]\"", text)) <= set(extras["optional-dependencies"])
    program, command, *rest = json.loads(re.findall(r"^CMD (.*)", text, re.MULTILINE)[-1])
    if program == "pillsnap":
        assert {word for word in rest if word.startswith("--")} <= options(command)
    else:
        assert [program, command, *rest] == ["dvc", "repro"]


def test_every_command_of_the_slurm_script_exists():
    text = (DEPLOY / "slurm.sbatch").read_text("utf-8")
    for command, rest in re.findall(r"^ +pillsnap (\w+)(.*)", text, re.MULTILINE):
        assert {word for word in shlex.split(rest) if word.startswith("--")} <= options(command)
    for stage in re.findall(r"train_\w+", text):
        assert (ROOT / "src" / f"{stage}.py").is_file()


@pytest.mark.slow
def test_an_array_of_three_jobs_and_the_job_that_joins_them(tmp_path):
    folder = tiny_project.copy_to(tmp_path)
    code = "from pathlib import Path; from pillsnap import params; from pillsnap.demo import tree;"
    code += "p = params.load(); tree.draw_tree(Path('data/demo'), p.demo, p.seed, 1, lambda *_: 0)"
    tiny_project.run(folder, "python", "-c", code)
    tiny_project.run(folder, "pillsnap", "fingerprint")
    tiny_project.run(folder, "dvc", "repro", "build_manifest")

    def job(*arguments, **more):
        environment = tiny_project.environment(folder, SLURM_SUBMIT_DIR=str(folder), **more)
        return subprocess.run(
            ["bash", "deploy/slurm.sbatch", *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    for number in ("3", "1"):
        done = job("validate", "3", SLURM_ARRAY_TASK_ID=number)
        assert f"part {number}/3: " in done.stdout, done.stdout
    refused = job("join")
    assert (refused.returncode != 0) and "part 2/3 is missing" in refused.stdout, refused.stdout
    assert job("validate", "3", SLURM_ARRAY_TASK_ID="4").returncode == 2
    assert job("validate", "3", SLURM_ARRAY_TASK_ID="2").returncode == 0
    joined = job("join")
    assert joined.returncode == 0, joined.stdout
    assert "3 parts joined" in joined.stdout
    assert re.search(r"\d+ photos, 0 of them read in this run", joined.stdout)
    assert job("unknown").returncode == 2
