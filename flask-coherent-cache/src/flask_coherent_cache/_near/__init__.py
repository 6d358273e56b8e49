"""Copies of entries in this process, kept right by what the server tells it."""
