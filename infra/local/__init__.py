"""The local stack: real servers and every worker as processes of one supervisor, without Docker."""
