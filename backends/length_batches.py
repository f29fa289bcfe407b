"""Which texts share a forward pass: those of about the same length, for all are padded to the longest."""

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], size: int, least: int = 1, padding: float = 1.0) -> list[list[int]]:
    """Positions of ``lengths`` in batches of up to ``size``, the longest first.

    A batch of at least ``least`` texts ends before one with which more than the share ``padding`` of its tokens would
    be padding; 1 lets it fill up.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    tokens = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch:
            padded = lengths[batch[0]] * (len(batch) + 1)
            wasteful = padded - tokens - lengths[position] > padding * padded
            if len(batch) == size or (wasteful and len(batch) >= least):
                batches.append(batch)
                batch, tokens = [], 0
        batch.append(position)
        tokens += lengths[position]
    return [*batches, batch] if batch else batches
