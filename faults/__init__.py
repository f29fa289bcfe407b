"""Fault campaign: kills what can be killed while requests run, and reads from the topics what became of each."""
