"""What set-up refuses."""


class SetupError(Exception):
    """Set-up cannot start or go on; the message says why and what to do, in one sentence."""
