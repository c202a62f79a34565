"""The benchmarks run against real servers and say what they found; no figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.goals import GOALS, plan
from tests.support.waiting import AT_MOST

ROOT = Path(__file__).resolve().parents[3]
TINY = ("--rounds", "2", "--seconds", "0.001")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * AT_MOST,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of everything promised, and of some more, wrote as JSON and printed."""
    place = tmp_path_factory.mktemp("run")
    (place / "web12.trace").write_bytes(b"".join(n.to_bytes(4, "big") for n in (1, 2, 1, 3)))
    files = place / "run.json", place / "run.svg"
    done = bench(
        *("must-show", "trace-web12", "trace-orm-busy", *TINY),
        *("--traces", str(place), "--json", str(files[0]), "--plot", str(files[1]), "--markdown"),
    )
    assert done.returncode in (0, 1), done.stderr  # 1: this machine is too busy for the bars
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(files[0].read_text())
    return {"found": found, "stdout": done.stdout, "stderr": done.stderr, "svg": files[1]}


def test_results_have_the_figures_of_every_round(run: dict[str, Any]) -> None:
    results = {result["workload"]: result for result in run["found"]["results"]}
    assert set(results) == {*plan(), "trace-web12"}
    for result in results.values():
        assert result["entrants"], result["workload"]
        for figures in result["entrants"].values():
            assert len(figures["rounds_us"]) == len(figures["rounds_cpu_us"]) == 2
            assert figures["calls_a_round"] >= 1
            spread = figures["us"]
            assert 0 < spread["least"] <= spread["q1"] <= spread["median"] <= spread["q3"]
            assert (figures["times_as_fast"] is None) == (result["baseline"] is None)
    assert {"floor", "floor-4", "redis-py", "cachemesh"} <= set(results["get"]["entrants"])
    assert "redis-py-cluster" in results["mget-100"]["entrants"]


def test_every_goal_has_a_verdict(run: dict[str, Any]) -> None:
    goals = run["found"]["goals"]
    assert [goal["figure"] for goal in goals] == [goal.figure for goal in GOALS]
    for goal in goals:
        assert goal["passed"] in (True, False)
        assert goal["found"] is not None or not goal["passed"]
        assert f"| {goal['figure']} |" in run["stdout"]


def test_who_or_what_is_missing_is_named(run: dict[str, Any]) -> None:
    skipped = run["found"]["skipped"]
    assert "has no trace orm-busy" in skipped["trace-orm-busy"]
    for name, reason in skipped.items():
        assert f"skipped {name}: {reason}" in run["stderr"]
    took_part = {name for result in run["found"]["results"] for name in result["entrants"]}
    wanted = {goal.entrant for goal in GOALS} | {goal.versus for goal in GOALS if goal.versus}
    assert wanted <= took_part | set(skipped)


def test_environment_and_plot(run: dict[str, Any]) -> None:
    environment = run["found"]["environment"]
    assert {"redis_server", "python", "cores", "load_average_before"} <= set(environment)
    drawn = ET.parse(run["svg"]).getroot()
    assert drawn.tag.endswith("svg")
    texts = [text.text for text in drawn.iter() if text.tag.endswith("text")]
    assert "cachemesh" in texts


def test_an_unknown_workload_is_refused() -> None:
    done = bench("warp-speed")
    assert done.returncode == 2
    assert "no workload 'warp-speed'" in done.stderr
