"""The keys of calls."""
