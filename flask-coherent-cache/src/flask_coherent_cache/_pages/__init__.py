"""Cached views and template fragments."""
