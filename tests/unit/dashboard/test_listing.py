"""What the lists of the dashboard have in common."""

from __future__ import annotations

import pytest

from dashboard.listing import has_words, natural, page_of, typed, whole_number


@pytest.mark.parametrize(
    ("number", "shown", "first", "last"),
    [
        (1, (0, 1, 2), 1, 3),
        (2, (3, 4, 5), 4, 6),
        (3, (6,), 7, 7),
        (99, (6,), 7, 7),
        (0, (0, 1, 2), 1, 3),
    ],
)
def test_a_page_that_is_not_there_is_the_nearest(
    number: int, shown: tuple[int, ...], first: int, last: int
) -> None:
    page = page_of(range(7), number, 3)
    assert (page.rows, page.first, page.last) == (shown, first, last)
    assert (page.pages, page.found) == (3, 7)


def test_a_page_of_nothing() -> None:
    page = page_of(range(0), 4, 50)
    assert (page.number, page.pages, page.first, page.last, page.found) == (1, 1, 0, 0, 0)


def test_what_people_type_is_bounded() -> None:
    assert typed(f"  a \t {'b' * 300}") == f"a {'b' * 194}"
    assert whole_number("17") == 17
    for odd in ("", "-1", "1.5", "\u0661", "x", "9" * 16):
        assert whole_number(odd) is None


def test_names_of_apps_may_be_any_text() -> None:
    assert sorted(("x\u00b2", "x10", "x9", "x\u0661"), key=natural) == [
        "x\u0661",
        "x9",
        "x10",
        "x\u00b2",
    ]


def test_all_words_have_to_be_there() -> None:
    assert has_words("Shop web-3", "SHOP 3")
    assert not has_words("Shop web-3", "shop web-4")
    assert has_words("anything", "")
