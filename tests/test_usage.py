"""Wrong usages of every command: one screen, the right exit code, under a second, without torch.

A case, a line of usage.txt, is what was typed, the exit code (2 usage, 1 input), words of the
refusal and, where the message offers one, the cure: a command that is run in the same state, with
words of its output.
"""

import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest
from PIL import Image
from typer.main import get_command

from make.import_graph import ROOT
from pillsnap import cli
from pillsnap.web.server import Server

TRAINED = "classes.csv is missing"  # the next thing that is wrong: the folder holds no model
KEY = "$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')"
CODES, COUNTS = "one K-code per line", "a K-code or EDI code and a count per line"
CASES = (ROOT / "tests/usage.txt").read_text("utf-8")
TABLE = [[part.strip() for part in line.split(" | ")] for line in CASES.splitlines()]
FILES = {
    "void.txt": "", "codes.txt": "K-1\n", "ok.txt": "K-000001\n", "bad.xlsx": "no",
    "words.csv": "K-000001,two\n", "twice.csv": "K-000001,1\nK-000001,2\n", "ok.csv": "K-000001,1",
    "full/x": "",
}  # fmt: skip


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `pillsnap` on a line in a project without models: exit code and output."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
    for slow in ("torch", "onnxruntime", "sklearn", "ultralytics", "timm"):
        monkeypatch.setitem(sys.modules, slow, None)  # its import fails
    monkeypatch.setattr(Server, "run", lambda *_, **__: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(line):
        words = shlex.split(line)
        while "=" in words[0] and words[0][0].isupper():
            monkeypatch.setenv(*words.pop(0).split("=", 1))
        monkeypatch.setattr(sys, "argv", ["pillsnap", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)  # a server that has ended
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out + printed.err

    return run


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case[0])
def test_a_wrong_usage_is_refused_on_one_screen_and_its_cure_works(call, case) -> None:
    typed, code, words, *cure = case
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        named = {"TRAINED": TRAINED, "CODES": CODES, "COUNTS": COUNTS}
        words = named.get(words, words).replace("BUSY", port)
        started_s = time.process_time()
        found, text = call(typed.replace("BUSY", port))
        assert time.process_time() - started_s < 1
        assert (found, words in text) == (int(code), True), text
        assert (
            len(text.splitlines()) < 20 and "Traceback" not in text and "Input should" not in text
        )
        hinted = text.partition("Try 'pillsnap ")[2].partition("'")[0]
        if hinted:
            assert call(hinted)[0] == 0
        if not cure:
            return
        command, expected = cure
        if command == "OFFERED":
            command = text.partition(": pillsnap ")[2].splitlines()[0]
        if command.startswith("EXPORTED "):
            variable = text.partition("export ")[2].partition("=")[0]
            assert f'export {variable}="{KEY}"' in text
            secret = subprocess.check_output(f"echo {KEY}", shell=True, text=True).strip()
            command = f"{variable}={secret} {command.removeprefix('EXPORTED ')}"
        _, text = call(command)
        assert named.get(expected, expected) in text, text
        assert words not in text


def test_there_are_sixty_cases_and_each_command_has_one() -> None:
    assert len(TABLE) >= 60
    named = {word for typed, *_ in TABLE for word in shlex.split(typed)}
    own = set(get_command(cli.app).commands)
    assert own - named <= {"demo", "compare"}  # in test_cli.py, and tests/operation/test_compare.py
