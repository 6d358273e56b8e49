"""Bytes that compression does not make smaller, the same in each run."""

import random


def noise(size: int) -> bytes:
    """Return so many bytes, drawn from a fixed seed."""
    return random.Random(size).randbytes(size)
