from backends.token_watch import TokenWatch


def test_silence_counts_from_the_begin_of_the_wait() -> None:
    watch = TokenWatch(10)
    assert watch.seconds_left(now=103, waiting_since=100) == 7
    assert watch.seconds_left(now=110, waiting_since=100) == 0


def test_a_token_of_any_request_is_progress() -> None:
    watch = TokenWatch(10)
    watch.token(108)
    assert watch.seconds_left(now=110, waiting_since=100) == 8
    assert watch.seconds_left(now=119, waiting_since=100) == 0


def test_an_engine_that_was_idle_is_not_hung() -> None:
    watch = TokenWatch(10)
    watch.token(100)
    assert watch.seconds_left(now=5_000, waiting_since=5_000) == 10
