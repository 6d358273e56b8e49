"""Compression of what is stored, where it saves a tenth at least."""

import zlib

#: So many bytes from the middle of a value show whether it can be compressed at all.
_SAMPLE_BYTES = 256
#: Of so many bytes, noise has about 162 values, and text in any script fewer than 80.
_DENSE_VALUES = 128
#: The least and the greatest window, as powers of two (RFC 1950, 2.2).
_LEAST_WINDOW, _GREATEST_WINDOW = 9, 15
#: What zlib adds to the window for gzip's header, without a time in it (RFC 1952).
_GZIP = 16


def smaller(value: bytes, level: int, *, gzip: bool = False) -> bytes | None:
    """Compress bytes, or return ``None`` where that saves less than a tenth.

    Every process and host makes the same bytes of a value.

    :param gzip: in the form of RFC 1952, in place of RFC 1950.
    """
    if len(value) > 2 * _SAMPLE_BYTES and _is_dense(value):
        return None
    # zlib clears tables of the window's size first, which takes longer than a short text.
    window = min(_GREATEST_WINDOW, max(_LEAST_WINDOW, len(value).bit_length()))
    memory = 6 if window < _GREATEST_WINDOW - 1 else 8
    deflate = zlib.compressobj(level, zlib.DEFLATED, window + _GZIP * gzip, memory)
    compressed = deflate.compress(value) + deflate.flush()
    return compressed if len(compressed) <= 0.9 * len(value) else None


def _is_dense(value: bytes) -> bool:
    """Tell by a sample whether a value is compressed already, or noise."""
    middle = len(value) // 2
    return len(set(value[middle : middle + _SAMPLE_BYTES])) > _DENSE_VALUES
