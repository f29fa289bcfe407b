"""Errors of evaluation."""


class EvaluationError(ValueError):
    """The run cannot be evaluated like this; the message says why, in one sentence."""
