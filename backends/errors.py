"""What can go wrong with a system outside, in the terms a stage decides by."""


class BackendError(Exception):
    """Base of the errors that backends raise."""


class BackendUnavailableError(BackendError):
    """The system does not answer now and may later: the work is held back and tried again."""


class BackendRejectedError(BackendError):
    """The system refuses this request for what it is: trying again changes nothing."""
