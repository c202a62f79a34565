"""The errors of every store."""

from __future__ import annotations

from cachemesh.core.errors import CacheMeshError


class StorageError(CacheMeshError):
    """The store could not be read or written; nothing was changed, unless it is an UnsureError."""


class UnsureError(StorageError):
    """The store has not answered to a change: whether it was made is not known, here and now."""


class StorageFullError(StorageError):
    """The store has no room left; nothing was changed."""


class StorageDiskError(StorageError):
    """The disk refused: a quota is used up, a file-size limit is reached, or the disk is faulty."""


class LostLeadError(StorageError):
    """A write of a term that is over was refused; nothing was changed."""


class CallTakenOverError(StorageError):
    """The change of a call was refused: another process carries the call out."""


class DamagedPoolError(StorageError):
    """What is kept of a pool was changed by hand and cannot be read; others are not harmed."""
