"""What holds for the markup of all pages, as their templates have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).resolve().parents[3] / "dashboard" / "templates"
PAGES = {
    str(path.relative_to(TEMPLATES)): path.read_text(encoding="utf-8")
    for path in TEMPLATES.rglob("*.html")
}


def test_no_name_of_a_shard_makes_the_id_of_something_else() -> None:
    """A shard may be called "filter" or "pool"."""
    ids = {each for text in PAGES.values() for each in re.findall(r'\bid="([^"]+)"', text)}
    made = {each.partition("{{")[0] for each in ids if "{{" in each} - {""}
    fixed = {each for each in ids if "{{" not in each}
    assert {"shard-", "toggle-", "felt-", "migration-"} <= made
    assert [each for each in fixed if each.startswith(tuple(made))] == []


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if '"confirm"' in text])
def test_what_is_confirmed_is_sent_once(name: str) -> None:
    """A button that is pressed twice: the second reply would tell of a conflict."""
    forms = re.findall(r'<form method="post".*?</form>', PAGES[name], re.DOTALL)
    confirming = [form for form in forms if '"confirm"' in form]
    assert confirming
    for form in confirming:
        assert "data-once" in form.partition("\n")[0]
    assert "once.js" in PAGES["base.html"]
