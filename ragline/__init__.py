"""Retrieval-augmented generation as an event pipeline on Kafka."""

from ragline.client import Answer, Client, Progress, RequestError, Restart, Sources, Token, Update

__all__ = ["Answer", "Client", "Progress", "RequestError", "Restart", "Sources", "Token", "Update"]
