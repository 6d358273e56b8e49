"""Lookups, flights, fills and invalidations, whatever the store."""
