"""The systems outside, one module each: a Protocol, the real client, and an in-memory twin."""
