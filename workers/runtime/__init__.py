"""How a stage runs: fetch, handle, produce, commit."""
