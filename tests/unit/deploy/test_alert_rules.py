"""`deploy/prometheus`, `deploy/grafana`: Prometheus accepts the rules, and the metrics exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from metaserver.api.metrics import METRICS
from tests.support.metaserver_process import ROOT
from tests.support.needs import needs

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES_TEXT = (PROMETHEUS / "cachemesh.rules.yml").read_text(encoding="utf-8")
TESTS_TEXT = (PROMETHEUS / "cachemesh.test.yml").read_text(encoding="utf-8")
DASHBOARD_TEXT = (ROOT / "deploy" / "grafana" / "cachemesh.json").read_text(encoding="utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
SCRAPE: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_TEXT)["groups"] for rule in group["rules"]
]


def metrics_in(text: str) -> set[str]:
    """Return the metrics that a text names; a part of a histogram counts as the histogram."""
    names = re.findall(r"\bcachemesh_[a-z_]+[a-z]\b", text)
    return {_base(name) for name in names}


def _base(name: str) -> str:
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if METRICS.get(stem, ("",))[0] == "histogram" else name


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def panels() -> Iterator[dict[str, Any]]:
    """Yield every panel of the dashboard that has queries."""
    for panel in json.loads(DASHBOARD_TEXT)["panels"]:
        if panel["type"] != "row":
            yield panel


def promtool(*arguments: str) -> str:
    """Return what promtool says, which has to succeed."""
    command = [needs("promtool"), *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "cachemesh.rules.yml")


def test_the_rules_pass_their_own_tests() -> None:
    promtool("test", "rules", "cachemesh.test.yml")


def test_prometheus_accepts_the_scrape_configuration() -> None:
    promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    fired = set(re.findall(r'ALERTS\{alertname="(\w+)"', TESTS_TEXT))
    assert fired == {alert["alert"] for alert in ALERTS}
    first = yaml.safe_load(TESTS_TEXT)["tests"][0]
    assert first["name"] == "nothing fires where all is well"
    assert all(check["exp_samples"] == [] for check in first["promql_expr_test"])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_impact_and_action_and_leads_to_its_runbook(alert: dict[str, Any]) -> None:
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("critical", "warning")
    said = alert["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert len(re.findall(r"[.:;] ", said["summary"])) >= 1, "impact, then what to do"
    url = urlsplit(said["runbook_url"])
    assert url.path.endswith("/runbooks.md")
    assert url.fragment == alert["alert"].lower()
    assert url.fragment in anchors(RUNBOOKS)


def test_no_runbook_is_of_an_alert_that_is_no_more() -> None:
    sections = set(re.findall(r"^### (CacheMesh\w+)$", RUNBOOKS, re.MULTILINE))
    assert sections == {alert["alert"] for alert in ALERTS}


def test_links_within_the_runbooks_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOKS)) <= anchors(RUNBOOKS)


@pytest.mark.parametrize(
    "text",
    [RULES_TEXT, TESTS_TEXT, DASHBOARD_TEXT, MONITORING, RUNBOOKS],
    ids=["rules", "tests", "dashboard", "monitoring", "runbooks"],
)
def test_every_metric_that_is_named_exists(text: str) -> None:
    assert metrics_in(text) - {"cachemesh_dashboard"} <= METRICS.keys()


def test_every_metric_is_documented() -> None:
    assert METRICS.keys() <= metrics_in(MONITORING)


def test_the_dashboard_has_queries_units_and_room_for_each_panel() -> None:
    taken: set[tuple[int, int]] = set()
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["targets"], panel["title"]
        assert all("cachemesh_" in target["expr"] for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_queries_of_the_dashboard_are_promql(tmp_path: Any) -> None:
    """Prometheus itself parses them, as recording rules."""
    board = json.loads(DASHBOARD_TEXT)
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    queries += [note["expr"] for note in board["annotations"]["list"]]
    rules = [
        {"record": f"query:{at}", "expr": query.replace("$pool", "cache").replace("$shard", ".*")}
        for at, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_scrape_configuration_has_no_token_and_the_job_that_rules_ask_for() -> None:
    (job,) = SCRAPE["scrape_configs"]
    assert job["job_name"] in re.findall(r'job="(\w+)"', RULES_TEXT)
    assert job["authorization"].keys() == {"credentials_file"}
    assert SCRAPE["rule_files"] == ["cachemesh.rules.yml"]
