"""Where Sentinels differ about shards, and what is odd of what one of them says."""

from __future__ import annotations

from typing import Any

from dashboard.sentinel_matrix import MatrixRow, SentinelMatrix, sentinel_matrix

MASTER, OTHER = "10.0.0.1:6379", "10.0.0.2:6379"


def says(**changes: Any) -> dict[str, Any]:
    """Return what a Sentinel says of a shard that is well."""
    return {
        "monitored": True,
        "master": MASTER,
        "flags": ["master"],
        "quorum": 2,
        "usable": True,
        "replicas": 1,
        "other_sentinels": 2,
    } | changes


def matrix(
    *rows: tuple[dict[str, Any] | None, ...], masters: tuple[str | None, ...] = (MASTER,) * 9
) -> SentinelMatrix:
    """Return the matrix of shards s0, s1, ...; None stands for a Sentinel that does not answer."""
    sentinels = [
        {
            "address": f"10.0.1.{at}:26379",
            "up": column[0] is not None,
            "error": None if column[0] is not None else "Connection refused",
            "shards": [
                {"shard": f"s{number}", **said}
                for number, said in enumerate(column)
                if said is not None
            ],
        }
        for at, column in enumerate(zip(*rows, strict=True))
    ]
    shards = [{"shard": f"s{at}", "master": masters[at]} for at in range(len(rows))]
    return sentinel_matrix({"at": "now", "sentinels": sentinels, "shards": shards})


def marks(row: MatrixRow) -> list[list[str]]:
    return [[mark.words for mark in cell.marks] for cell in row.cells]


WELL = (says(), says(), says())


def test_where_all_say_the_same_nothing_is_marked() -> None:
    shown = matrix(WELL, WELL)
    assert [marks(row) for row in shown.rows] == [[[], [], []]] * 2
    assert (shown.answering, shown.differing) == (3, ())
    cell = shown.rows[0].cells[2]
    assert (cell.sentinel, cell.master, cell.replicas, cell.others) == (
        "10.0.1.2:26379",
        MASTER,
        1,
        2,
    )


def test_who_names_another_master_than_most_is_marked_and_the_shard_comes_first() -> None:
    shown = matrix(WELL, (says(), says(master=OTHER), says()))
    assert [row.shard for row in shown.rows] == ["s1", "s0"]
    assert marks(shown.rows[0]) == [[], ["another master"], []]
    assert shown.rows[0].cells[1].marks[0].why == f"most Sentinels name {MASTER}"
    assert shown.differing == ("s1",)


def test_without_a_majority_all_are_marked() -> None:
    (row,) = matrix((says(), says(master=OTHER), None), masters=(None,)).rows
    assert marks(row) == [["no majority"], ["no majority"], ["unreachable"]]
    assert (row.differs, row.master) == (True, "")


def test_who_takes_the_master_for_down() -> None:
    down = says(flags=["master", "o_down", "s_down"])
    (row,) = matrix((down, says(flags=["master", "s_down"]), says())).rows
    assert marks(row) == [["o_down", "s_down"], ["s_down"], []]
    assert {mark.level for mark in row.cells[0].marks} == {"down"}
    assert row.differs
    (agreed,) = matrix((down, down, down)).rows
    assert (agreed.differs, agreed.odd) == (False, True)


def test_a_failover_is_calm_and_what_is_not_known_is_shown_by_its_name() -> None:
    (row,) = matrix(
        (says(flags=["master", "failover_in_progress", "moonlit"]), says(), says())
    ).rows
    assert [(mark.level, mark.words) for mark in row.cells[0].marks] == [
        ("info", "failover"),
        ("degraded", "moonlit"),
    ]
    assert not row.differs


def test_a_sentinel_that_does_not_answer_is_no_disagreement() -> None:
    shown = matrix((says(), None, says()), (says(), None, says(usable=False)))
    assert (shown.answering, shown.differing) == (2, ())
    assert [row.shard for row in shown.rows] == ["s1", "s0"], "what is odd before what is well"
    cell = shown.rows[1].cells[1]
    assert [(mark.words, mark.why) for mark in cell.marks] == [
        ("unreachable", "Connection refused")
    ]
    assert (cell.master, cell.replicas, cell.others) == ("", None, None)
    assert marks(shown.rows[0])[2] == ["no quorum"]


def test_a_sentinel_that_does_not_monitor_the_shard_differs() -> None:
    unknown = {"monitored": False, "flags": [], "master": None, "replicas": None}
    (row,) = matrix((says(), says(), unknown)).rows
    assert marks(row) == [[], [], ["not monitored"]]
    assert row.differs


def test_who_knows_less_than_the_others() -> None:
    (row,) = matrix((says(replicas=2), says(), says(replicas=2, other_sentinels=0))).rows
    assert marks(row) == [[], ["1 of 2 replicas"], ["0 of 2 Sentinels"]]
    assert (row.differs, row.odd) == (False, True)
