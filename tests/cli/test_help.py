"""What can be learnt without data: help, version, and how mistakes end."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from omicsfm import __version__
from omicsfm.cli import main

_HEAVY = ("numpy", "pandas", "anndata", "mudata", "scipy", "sklearn", "torch", "scanpy", "matplotlib", "jinja2")
_COMMANDS = {
    "demo": ["--out", "--force", "--json"],
    "check": ["FILE", "--modalities", "--json"],
    "fit": ["FILE", "--out", "--batch-key", "--label-key", "--donor-key", "--modalities", "--organism", "--seed"],
    "embed": ["MODEL", "FILE", "--out", "X_mosaic"],
    "impute": ["MODEL", "FILE", "--modality", "--out"],
    "annotate": ["MODEL", "FILE", "--out", "label_mosaic"],
    "info": ["MODEL"],
    "embed-sequence": ["FILE", "--genome", "--model", "--modality", "--key", "--width", "--pad", "--out", "--force"],
    "bench": ["--suite", "--out", "--methods", "--seeds"],
    "report": ["RESULTS", "--out"],
    "data list": [],
    "data info": ["NAME"],
    "data fetch": ["NAME"],
    "data verify": ["NAMES"],
}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(arguments):
    code = (
        "import sys; from omicsfm.cli import main; code = main(sys.argv[1:]); "
        f"heavy = [m for m in {_HEAVY!r} if m in sys.modules]; assert not heavy, heavy; sys.exit(code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    took = time.perf_counter() - start
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 3, f"{took:.1f} s"  # 0.2 s alone on the machine


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_lists_every_command(capsys):
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(command.split()[0] in out for command in _COMMANDS)
        assert "130 interrupted" in out


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_of_a_command_names_all_its_options(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    for word in (*_COMMANDS[command], "--json"):
        assert word in out
    # Every parameter is explained: a line of a parameter holds more than its name and type.
    for line in out.splitlines():
        if line.startswith("│") and line[2:].strip().startswith(("--", "*")):
            assert len(line.strip("│ ").split()) > 3, f"no words for: {line}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["blah"], "Unknown command"),
        (["check"], "FILE"),
        (["check", "x.h5mu", "--nope"], "--nope"),
        (["fit", "x.h5mu"], "--out"),
        (["fit", "x.h5mu", "--out", "m", "--seed", "many"], "seed"),
        (["check", "absent.h5mu"], "there is no 'absent.h5mu'"),
        (["check", "x.csv"], "unknown suffix '.csv'"),
        (["info", "absent"], "there is no folder 'absent'"),
        (["embed", "absent", "x.h5mu"], "there is no folder 'absent'"),
        (["embed", "absent", "x.h5mu", "--out", "y.csv"], "must end in .h5mu or .zarr"),
        (["report", "absent.parquet"], "absent.parquet"),
        (["report", "absent.parquet", "--out", "r.pdf"], "must end in .html"),
        (["bench", "--suite", "nope"], "nope"),
        (["bench", "--out", "r.csv"], "must end in .parquet"),
        (["data", "info", "nope"], "no data set 'nope'"),
        (["data", "fetch", "nope"], "no data set 'nope'"),
        (["fit", "x.h5mu", "--out", "m", "--modalities", "adt"], "found 'adt'"),
    ],
)
def test_a_mistake_is_one_line_with_its_fix_and_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("omicsfm: ")
    assert told.err.count("\n") == 1
    assert words in told.err
    assert "Fix: " in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_not_hidden(monkeypatch):
    monkeypatch.setattr("omicsfm.hub.manifest", lambda model: {})  # what only a bug of ours would do
    with pytest.raises(KeyError):
        main(["info", "model"])
