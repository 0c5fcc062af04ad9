"""Locks on folders: a process that dies lets go of them, and no file is left behind."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without file locks
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Holds a folder against other processes, and against a second lock of this one, until it is released.

    `certain` is False where the system or the file system has no locks: then nothing holds anything. Raises
    BlockingIOError where somebody else holds the folder, and OSError where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.certain = False
        self._handle: int | None = None
        if fcntl is None:
            return
        # The folder itself, so that no file is left behind and none can be removed under the lock.
        self._handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.certain = True
        except BlockingIOError:
            self.release()
            raise
        except OSError:  # a file system without locks
            self.release()

    def release(self) -> None:
        """Let others hold the folder; nothing happens at a second call."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
