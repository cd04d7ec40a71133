import pytest

from pillsnap import cli_use
from pillsnap.errors import CheckpointError
from pillsnap.release.bundle import Bundle


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    bundle = Bundle(tmp_path)
    bundle.timm_dir.mkdir()
    bundle.classes.write_text("classes")
    (bundle.timm_dir / "config.json").write_text("{}")
    bundle.seal({"scale": "demo"})
    return bundle


def test_a_sealed_bundle_is_whole(bundle) -> None:
    assert bundle.verify() == []
    assert bundle.describe() == {"format": 1, "scale": "demo"}


def test_changed_missing_and_strange_files_are_named(bundle) -> None:
    bundle.classes.write_text("other")
    (bundle.timm_dir / "config.json").unlink()
    bundle.gallery.write_text("{}")
    assert [line.split("/")[-1] for line in bundle.verify()] == [
        "config.json: missing", "classes.csv: changed", "gallery.json: not sealed",
    ]  # fmt: skip


def test_verifying_names_each_damage_with_a_cure_and_ends_with_1(bundle, capsys) -> None:
    assert cli_use.verify_bundle(bundle.folder) == 0
    bundle.classes.write_text("other")
    assert cli_use.verify_bundle(bundle.folder) == 1
    printed = capsys.readouterr().out
    assert f"{bundle.classes}: changed\n  -> Export it again" in printed
    assert printed.endswith("1 damaged\n")


def test_a_folder_without_checksums_cannot_be_checked(tmp_path) -> None:
    assert "nothing can be checked" in Bundle(tmp_path).verify()[0]


def test_broken_checksums_are_told(bundle) -> None:
    (bundle.folder / "SHA256SUMS").write_text("words\n")
    assert "not a list of checksums" in bundle.verify()[0]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no release bundle"):
        Bundle(tmp_path).describe()


@pytest.mark.parametrize(("text", "words"), [("{", "damaged"), ('{"format": 9}', "format 9")])
def test_another_description_is_refused(tmp_path, text: str, words: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        Bundle(tmp_path).describe()
