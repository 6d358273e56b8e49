"""The inspector at `/_cache/`: what the cache does, and why, for its operators."""
