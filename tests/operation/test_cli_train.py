"""`pillsnap train`: what its options refuse, as usage."""

from typer.testing import CliRunner

from pillsnap.cli import app
from pillsnap.operation import train


def test_an_unknown_log_level_is_refused_with_the_levels():
    done = CliRunner().invoke(app, ["train", "--log-level", "FOO"])
    assert done.exit_code == 2
    assert "DEBUG, INFO, WARNING, ERROR" in " ".join(done.output.split())


def test_a_batch_of_one_crop_is_refused():
    assert CliRunner().invoke(app, ["train", "--batch-size", "1"]).exit_code == 2


def test_the_options_become_keys_of_params_yaml(monkeypatch):
    calls: list[tuple[dict[str, object], dict[str, object]]] = []

    def note(wanted, **options):
        calls.append((wanted, options))
        return 0

    monkeypatch.setattr(train, "train", note)
    given = [
        "--scale",
        "stage1",
        "--epochs",
        "3",
        "--lr",
        "1e-4",
        "--log-level",
        "debug",
        "--fresh",
    ]
    assert CliRunner().invoke(app, ["train", *given, "-y"]).exit_code == 0
    [(wanted, options)] = calls
    assert wanted == {
        "scale": "stage1", "train.epochs": 3, "train.batch_size": None,
        "train.detection_batch_size": None, "train.lr": 1e-4,
    }  # fmt: skip
    assert options == {"checkpoint": None, "resume": False, "log_level": "DEBUG", "yes": True}
