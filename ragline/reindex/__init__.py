"""Makes a new version of the index beside the live one, and lets it take over."""
