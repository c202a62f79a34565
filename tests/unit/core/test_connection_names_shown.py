"""Names of connections: the client's part and the app's."""

from __future__ import annotations

from cachemesh.core.connection_names import full_name, own_name, showing_own_names

ID = "0123456789ab"
NAMES = [
    (None, f"cachemesh:{ID}"),
    ("shop", f"cachemesh:{ID}:shop"),
    (b"shop", f"cachemesh:{ID}:shop"),
]


def test_both_parts() -> None:
    for own, whole in NAMES:
        assert full_name(ID, own) == whole
        assert full_name(ID, whole) == whole
    assert own_name(ID, f"cachemesh:{ID}:a:b") == "a:b"
    assert own_name(ID, f"cachemesh:{ID}") == ""
    for foreign in ("shop", "cachemesh:else", "", None):
        assert own_name(ID, foreign) == foreign
    assert own_name(None, f"cachemesh:{ID}") == f"cachemesh:{ID}"


def test_the_app_sees_its_own_part() -> None:
    def same(reply: object, **_: object) -> object:
        return reply

    name = showing_own_names("CLIENT GETNAME", same, lambda: ID)
    assert name(f"cachemesh:{ID}:shop") == "shop"
    assert name(f"cachemesh:{ID}") is None
    assert name(None) is None
    listed = showing_own_names("CLIENT LIST", same, lambda: ID)
    rows = [{"id": "1", "name": f"cachemesh:{ID}:shop"}, {"id": "2", "name": "other"}]
    assert [row["name"] for row in listed(rows)] == ["shop", "other"]
    info = showing_own_names("CLIENT INFO", same, lambda: ID)
    assert info({"name": f"cachemesh:{ID}"})["name"] == ""
    assert info("text") == "text"
