"""A cache for Flask that stays up to date after every write."""

__version__ = "0.2.0"
