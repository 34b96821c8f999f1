"""Keeping freed memory in the process: glibc gives large arrays back to the system, which hands them out again page by page."""

from __future__ import annotations

import ctypes

# mallopt(3). 32 MiB is the largest threshold that glibc accepts; above it every array is mapped anew whatever we ask.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT_BYTES = 256 << 20


def reuse_freed_memory() -> bool:
    """Lets this process keep up to 256 MiB that it freed; True if the C library knows how (glibc).

    An update frees and allocates the same arrays again and again: without this, faulting their pages in takes about 15 % of
    its time on states, and up to a quarter on images. Safe to call twice.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    kept = [mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)]
    return all(kept)
