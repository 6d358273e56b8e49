"""The engine: what makes an entry valid, whatever the store.

A key passes ``engine`` (fetch), ``lookup`` (find the entry and its tags), ``flights`` (one fill at
a time) and ``filling`` (compute, collect dependencies, store). A write passes ``invalidation``
(doubt, bump) and, if the store does not take it, ``outbox``. ``base`` holds what these share.
"""
