"""Retrieval-augmented generation as an event pipeline on Kafka."""
