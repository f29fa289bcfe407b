import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from workers.runtime.progress import MAX_OUTSTANDING, METADATA_LIMIT_BYTES, Progress, decode_runs, encode_runs


def test_watermark_waits_for_the_first_unfinished_record() -> None:
    progress = Progress(10)
    for offset in (10, 11, 12):
        assert progress.begin(offset)
    progress.finish(11)
    progress.finish(12)
    assert progress.commit()[0] == 10
    progress.finish(10)
    assert progress.commit() == (13, "")


def test_new_owner_skips_what_was_done_beyond_the_watermark() -> None:
    first = Progress(0)
    for offset in range(6):
        first.begin(offset)
    for offset in (1, 2, 4):
        first.finish(offset)
    second = Progress.from_commit(*first.commit())
    assert [offset for offset in range(8) if second.begin(offset)] == [0, 3, 5, 6, 7]


def test_gaps_count_as_done() -> None:
    progress = Progress(0)
    progress.begin(5)
    progress.begin(9)
    assert progress.commit()[0] == 5
    progress.finish(5)
    progress.finish(9)
    assert progress.commit() == (10, "")


def test_offsets_must_grow() -> None:
    progress = Progress(0)
    progress.begin(3)
    with pytest.raises(ValueError, match="begun before"):
        progress.begin(3)


@pytest.mark.parametrize("metadata", ["", "something else", "r1:", "r1:***", "r1:gA==", "r2:AAAA"])
def test_foreign_metadata_is_no_runs(metadata: str) -> None:
    assert decode_runs(7, metadata) == []


@given(
    st.integers(0, 2**53),
    st.lists(st.tuples(st.integers(1, 2**20), st.integers(1, 2**20)), max_size=100),
)
def test_runs_round_trip(watermark: int, pairs: list[tuple[int, int]]) -> None:
    runs, position = [], watermark
    for gap, length in pairs:
        runs.append(range(position + gap, position + gap + length))
        position += gap + length
    assert decode_runs(watermark, encode_runs(watermark, runs)) == runs


def test_worst_case_fits_the_metadata() -> None:
    progress = Progress(0)
    offset = 0
    for _ in range(MAX_OUTSTANDING):
        progress.begin(offset)
        for done in range(offset + 1, offset + 3):
            progress.begin(done)
            progress.finish(done)
        offset += 2_000_000
    assert progress.outstanding == MAX_OUTSTANDING
    assert len(progress.commit()[1]) <= METADATA_LIMIT_BYTES


class ProgressMachine(RuleBasedStateMachine):
    """Against a plain model: a log with gaps, the offsets done so far, and owners that change at any moment."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(0)
        self.done: set[int] = set()
        self.committed = self.progress.commit()
        self.done_at_commit: set[int] = set()
        self.owner = 0

    @staticmethod
    def exists(offset: int) -> bool:
        return offset % 5 not in {1, 2}

    @rule(target=running)
    def begin(self) -> tuple[int, int]:
        offset = self.progress.next_offset
        while not self.exists(offset):
            offset += 1
        assert self.progress.begin(offset) == (offset not in self.done)
        return self.owner, offset

    @rule(work=consumes(running))
    def finish(self, work: tuple[int, int]) -> None:
        owner, offset = work
        if owner == self.owner:
            self.progress.finish(offset)
            self.done.add(offset)

    @rule()
    def commit(self) -> None:
        self.committed = self.progress.commit()
        self.done_at_commit = set(self.done)

    @rule()
    def change_owner(self) -> None:
        self.owner += 1
        self.progress = Progress.from_commit(*self.committed)
        self.done = set(self.done_at_commit)

    @invariant()
    def nothing_unfinished_counts_as_done(self) -> None:
        watermark, metadata = self.progress.commit()
        runs = decode_runs(watermark, metadata)
        for offset in range(self.progress.next_offset + 20):
            if self.exists(offset) and offset not in self.done:
                assert offset >= watermark
                assert not any(offset in run for run in runs)

    @invariant()
    def what_is_done_is_never_given_again(self) -> None:
        watermark, metadata = self.progress.commit()
        again = Progress.from_commit(watermark, metadata)
        for offset in sorted(self.done):
            if offset >= watermark:
                assert not again.begin(offset)


TestProgressMachine = ProgressMachine.TestCase
