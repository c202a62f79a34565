"""The failover benchmark runs from its command line and writes its figures down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.failover.__main__ import main
from benchmarks.failover.cases import CASES
from benchmarks.failover.contenders import CONTENDERS


def test_a_case_is_run_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    assert main(["incr", "--only", "cachemesh", "--json", str(path)]) == 0
    assert "INCR" in capsys.readouterr().out
    found = json.loads(path.read_text())["cases"]["incr"]["contenders"]
    assert list(found) == ["cachemesh"]
    assert max(found["cachemesh"]["figures"]["executed"]) <= 1


def test_every_case_names_contenders_that_exist() -> None:
    for case in CASES.values():
        assert set(case.contenders) <= set(CONTENDERS)


def test_bad_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["--seconds", "1"], ["--writers", "0"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "no case 'nonsense'" in capsys.readouterr().err
