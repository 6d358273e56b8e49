"""The near cache: copies of entries in this process, valid by what the server tells it."""
