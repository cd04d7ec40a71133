"""The checklist's points about the repository, and their cures in the states they are for."""

import subprocess

import pytest

from make.import_graph import ROOT
from make.made_project import loaded, make_project
from make.tiny_project import environment, run
from pillsnap.errors import DataError
from pillsnap.operation import check_checkout
from pillsnap.places import Places


def sh(folder, command):
    return run(folder, "sh", "-ec", command)


def point(check, project, **changes):
    [found] = check(loaded(project, **changes), project)
    return found


def test_a_remote_is_missed_for_real_data_only(project):
    found = [point(check_checkout.remote, project, scale=scale) for scale in ("demo", "stage3")]
    assert [one.status for one in found] == ["pass", "warn"]
    sh(project, found[1].cure.partition(",")[0].replace("<url or folder>", "/mnt/store"))
    named = point(check_checkout.remote, project, scale="stage3")
    assert (named.status, named.value) == ("pass", "storage")


def test_a_folder_without_dvc_or_git_is_named(project):
    assert point(check_checkout.git, project).status == "warn"
    (project / "dvc.yaml").unlink()
    assert point(check_checkout.dvc, project).status == "fail"


def test_a_path_beyond_ascii_is_named_until_the_cache_has_another_one(tmp_path):
    folder = make_project(tmp_path / "알약")
    found = point(check_checkout.dvc, folder)
    assert (found.status, "--temp or --queue" in found.value) == ("warn", True)
    run(folder, "sh", "-ec", found.cure, HOME=str(tmp_path))
    assert point(check_checkout.dvc, folder).status == "pass"


LINKS = ["data", "data/demo", "artifacts", "artifacts/demo/checkpoints", "artifacts/demo/live"]


@pytest.mark.parametrize("name", LINKS)
def test_a_folder_of_outputs_on_another_disk_fails_before_anything_runs(project, tmp_path, name):
    (project / name).mkdir(parents=True, exist_ok=True)
    (project / name).rename(tmp_path / "other disk")
    (project / name).symlink_to(tmp_path / "other disk")
    found = point(check_checkout.folders, project)
    start = f"{name} is a link to {tmp_path / 'other disk'}, outside"
    assert (found.status, found.value.startswith(start)) == ("fail", True)
    with pytest.raises(DataError, match="is a link"):
        Places.of(loaded(project)).check_links()  # as each stage under DVC does


def test_links_inside_the_repository_and_photos_outside_pass(project, tmp_path):
    (project / "data").rename(project / "store")
    (project / "data").symlink_to("store")
    (project / "store/demo/train").rename(tmp_path / "photos")
    (project / "store/demo/train").symlink_to(tmp_path / "photos")
    assert point(check_checkout.folders, project).status == "pass"


@pytest.mark.slow
def test_a_mounted_folder_takes_outputs_where_a_link_does_not(project, tmp_path):
    (project / "data").rename(tmp_path / "disk")
    (project / "data").symlink_to(tmp_path / "disk")
    cure = point(check_checkout.folders, project).cure.splitlines()[0]
    mount = cure.removeprefix("Mount the folder instead: ").replace("sudo ", "")
    stage = "mkdir data/demo/crops && echo 1 > data/demo/crops/x"
    add = f"dvc stage add -q --run -n one -o data/demo/crops '{stage}'"
    script = f"set -e; {mount}; rm -r .dvc dvc.yaml; git init -q; dvc init -q; {add}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script], cwd=project, text=True,
        capture_output=True, env=environment(project),
    )  # fmt: skip
    if "unshare" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip(f"no folder can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "disk/demo/crops/x").exists()


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_a_clone_has_lf_whatever_git_is_set_to(project, tmp_path, autocrlf):
    (project / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    (project / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    sh(project, "git init -q && git add -A && git commit -qm first")
    sh(tmp_path, f"git clone -q -c core.autocrlf={autocrlf} 'a project' clone")
    assert check_checkout.line_ends(loaded(project), tmp_path / "clone")[0].status == "pass"
    assert (tmp_path / "clone/x.png").read_bytes() == b"\x89PNG\r\n\x1a\n"


def test_crlf_of_an_old_clone_is_a_warning_and_its_cure_spares_edits(project):
    """A clone made with core.autocrlf=true before .gitattributes came."""
    sh(project, "git init -q; git add -A; git commit -qm first; git config core.autocrlf true")
    sh(project, "git rm -rq --cached .; git reset -q --hard")
    with (project / "params.yaml").open("ab") as file:
        file.write(b"# an edit\r\n")
    found = point(check_checkout.line_ends, project)
    assert "CRLF in 2 files, as dvc.yaml" in found.value
    sh(project, found.cure)
    assert point(check_checkout.line_ends, project).status == "pass"
    assert (project / "params.yaml").read_bytes().endswith(b"\n# an edit\n")


def test_every_file_of_the_repository_is_text_or_named_as_binary():
    names = sh(ROOT, "git ls-files -z --eol").split("\0")
    unclear = [line for line in names if line.startswith("i/-text") and "attr/-text" not in line]
    assert unclear == []
    assert [line for line in names if line.startswith(("i/crlf", "i/mixed"))] == []
