"""The contract of every store: tokens, by the digests of their texts."""

from __future__ import annotations

from metaserver.store import Store
from tests.support.store_records import actions, event
from tests.unit.conftest import Opener


class TestTokens:
    def test_by_digest_only(self, store: Store) -> None:
        token = store.add_token("ops", "admin", "d1", event("token.create", None))
        assert token is not None
        assert store.token_digests() == {"d1": token}
        assert store.add_token("ops", "read", "d2", event()) is None
        assert store.tokens() == (token,)
        assert [(each.action, each.target) for each in store.events()] == [
            ("token.create", token.id)
        ]

    def test_the_last_admin_stays(self, store: Store) -> None:
        first = store.add_token("one", "admin", "d1", event())
        reader = store.add_token("two", "read", "d2", event())
        assert first is not None
        assert reader is not None
        assert not store.revoke_token(first.id, event("token.revoke"))
        assert not store.revoke_token("nobody", event("token.revoke"))
        assert "token.revoke" not in actions(store)
        assert store.add_token("three", "admin", "d3", event()) is not None
        assert store.revoke_token(first.id, event("token.revoke"))
        assert store.revoke_token(reader.id, event("token.revoke"))
        assert [each.name for each in store.tokens()] == ["three"]

    def test_limits_are_kept(self, store: Store, another: Opener) -> None:
        until = "2030-01-01T00:00:00.000Z"
        for name, pools in (("some", ("cache", "other")), ("none", ())):
            token = store.add_token(name, "read", name, event(), pools=pools, expires=until)
            assert token is not None
            assert (token.pools, token.expires) == (pools, until)
            assert another().token_digests()[name] == token

    def test_only_a_lasting_admin_of_all_pools_has_to_stay(self, store: Store) -> None:
        until = "2030-01-01T00:00:00.000Z"
        lasting = store.add_token("lasting", "admin", "d1", event())
        limited = store.add_token("limited", "admin", "d2", event(), pools=("cache",))
        ending = store.add_token("ending", "admin", "d3", event(), expires=until)
        assert lasting is not None
        assert limited is not None
        assert ending is not None
        assert not store.revoke_token(lasting.id, event())
        assert store.revoke_token(limited.id, event())
        assert store.revoke_token(ending.id, event())

    def test_a_rotated_token_has_two_texts_for_a_while(self, store: Store, another: Opener) -> None:
        token = store.add_token("ops", "admin", "d1", event(), pools=("cache",))
        assert token is not None
        until = "2999-01-01T00:00:00.000Z"
        assert store.rotate_token("nobody", "d9", until, event()) is None
        assert store.rotate_token(token.id, "d2", until, event("token.rotate", None)) == token
        assert store.rotate_token(token.id, "d3", "2999-02-01T00:00:00.000Z", event()) == token
        for each in (store, another()):
            assert each.tokens() == (token,)
            assert each.token_digests() == {"d3": token}
            former = each.former_digests()
            assert {digest: of.expires for digest, of in former.items()} == {
                "d1": until,
                "d2": "2999-02-01T00:00:00.000Z",
            }
            assert {of.id for of in former.values()} == {token.id}
        assert store.revoke_token(token.id, event())
        assert store.former_digests() == {}

    def test_a_former_text_ends_with_its_token(self, store: Store) -> None:
        until = "2030-01-01T00:00:00.000Z"
        token = store.add_token("ops", "read", "d1", event(), expires=until)
        assert token is not None
        assert store.rotate_token(token.id, "d2", "2999-01-01T00:00:00.000Z", event()) == token
        assert store.former_digests()["d1"].expires == until

    def test_last_use(self, store: Store) -> None:
        token = store.add_token("ops", "admin", "d1", event())
        assert token is not None
        store.touch_tokens({token.id: "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:00:00Z"})
        assert store.tokens()[0].last_used == "2026-01-01T00:00:00Z"
