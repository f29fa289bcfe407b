"""What ends a re-index."""


class ReindexError(Exception):
    """The re-index cannot begin or go on; the message says why and what to do. Questions are answered as before."""
