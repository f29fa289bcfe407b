from datetime import UTC, datetime, timedelta

from bridge.keys import KeyRing, looks_like_key, new_key
from schemas.events import ApiKeyRevoked
from tests.fixtures.keys import created

NOW = datetime.now(UTC)


def revoked(key_id: str) -> ApiKeyRevoked:
    return ApiKeyRevoked(key_id=key_id, tenant="t", label="", by="", at=NOW)


def test_a_key_is_known_by_its_digest_alone() -> None:
    key, ring = new_key(), KeyRing()
    ring.take(event := created(key, "t", "ask"))
    assert looks_like_key(key.text)
    assert ring.find(key.text, NOW) == event
    assert ring.find(key.text + "x", NOW) is None
    assert key.text not in event.model_dump_json() + repr(key)


def test_no_two_keys_are_alike() -> None:
    assert len({new_key().text for _ in range(100)} | {new_key().key_id for _ in range(100)}) == 200


def test_a_key_is_valid_until_its_time_is_over() -> None:
    key, ring = new_key(), KeyRing()
    ring.take(created(key, "t", "ask", valid_until=NOW + timedelta(days=1)))
    assert ring.find(key.text, NOW)
    assert ring.find(key.text, NOW + timedelta(days=1)) is None


def test_a_revoked_key_stays_so_in_whatever_order_it_is_heard() -> None:
    key, ring = new_key(), KeyRing()
    ring.take(revoked(key.key_id))
    ring.take(created(key, "t", "ask"))
    assert ring.find(key.text, NOW) is None
    assert list(ring) == []


def test_who_watches_hears_of_the_end_once() -> None:
    key, ring, heard = new_key(), KeyRing(), list[str]()
    ring.take(created(key, "t", "ask"))
    ring.watch(key.key_id, lambda: heard.append("first"))
    ring.watch(key.key_id, lambda: heard.append("second"))()
    ring.take(revoked(key.key_id))
    ring.take(revoked(key.key_id))
    assert heard == ["first"]
    ring.watch(key.key_id, lambda: heard.append("late"))
    assert heard == ["first", "late"]
