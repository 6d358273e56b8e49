"""Cached functions, and the encoding of their values."""
