"""No secret is written anywhere: logs at the lowest level, answers, pages, errors, `ps`, files.

Every secret of a deployment is a canary. All of its parts are driven well and badly, and what they
wrote is searched. A secret is given out on purpose at one place: the answer to a call that makes
or rotates a token, and what the CLI prints or writes of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canaries import Evidence, forms, new_canary
from tests.support.canary_apps import drive_clients, drive_wrong_logins
from tests.support.canary_echoes import drive_echoes
from tests.support.canary_operators import drive_api, drive_cli, drive_dashboard
from tests.support.canary_remains import (
    everything_logged,
    keep_processes,
    keep_znodes,
    show_settings,
)
from tests.support.canary_site import GIVEN, Site, running_site


def test_the_search_finds_every_form() -> None:
    secret = new_canary()
    evidence = Evidence({"s": secret})
    evidence.add("clean", b"nothing here")
    assert evidence.found() == []
    for _, text in forms(secret):
        evidence.add("planted", b"x" + text + b"y")
    assert len({line.partition(" in ")[0] for line in evidence.found()}) == len(list(forms(secret)))


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence({name: new_canary() for name in GIVEN})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), evidence) as found:
        yield found


def test_no_secret_is_written_anywhere(site: Site, tmp_path: Path) -> None:
    with everything_logged(site):
        drive_api(site)
        drive_clients(site, tmp_path / "snapshots")
        drive_wrong_logins(site)
        drive_echoes(site)
        drive_cli(site, tmp_path)
    drive_dashboard(site)
    keep_processes(site)
    show_settings(site)
    for name in site.processes:
        site.evidence.add(f"log of the {name}", Path(site.path(f"{name}.log")).read_bytes())
    for path in (tmp_path / "snapshots").rglob("*"):
        if path.is_file():
            site.evidence.add(f"snapshot {path.name}", path.read_bytes())
    assert any(source.startswith("snapshot") for source, _ in site.evidence.pieces)
    keep_znodes(site)
    found = site.evidence.found()
    if found:
        pytest.fail("\n".join(found), pytrace=False)
