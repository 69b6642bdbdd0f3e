"""A stand-in for vfat where the kernel has none: an empty file system that cannot be written.

    EmptyFat("/dev/nvme0n1p1", "/mnt/boot/efi").mount()

It is served by FUSE as block devices are (`fuseblk`, which NTFS-3G uses), so that the kernel lists
the partition itself as what is mounted, and genfstab asks blkid for its type. Right for a file
system that mkfs.fat has just made, as long as nobody writes to it: that fails with EROFS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from pathlib import Path

INIT, LOOKUP, FORGET, GETATTR, STATFS, OPENDIR, READDIR = 26, 1, 2, 3, 17, 27, 28
RELEASEDIR, ACCESS, DESTROY, INTERRUPT, BATCH_FORGET = 29, 34, 38, 36, 42
WRITES = {4, 6, 8, 9, 10, 11, 12, 13, 16, 35}  # setattr, symlink, mknod, mkdir, unlink, …, create
_HEAD = struct.Struct("=IIQQIIII")


class EmptyFat:
    """One mounted partition, served by a thread until it is unmounted."""

    def __init__(self, source: str, target: str) -> None:
        self._source, self._target = source, target

    def mount(self) -> None:
        """Mount it and begin to serve.

        Raises:
            OSError: the kernel refuses.
        """
        fuse = Path("/dev/fuse")
        if not fuse.exists():
            os.mknod(fuse, 0o600 | stat.S_IFCHR, os.makedev(10, 229))
        channel = os.open(fuse, os.O_RDWR)
        options = f"fd={channel},rootmode=40000,user_id=0,group_id=0,allow_other,blksize=512"
        libc = ctypes.CDLL(None, use_errno=True)
        words = (self._source, self._target, "fuseblk")
        if libc.mount(*(word.encode() for word in words), 0, options.encode()):
            number = ctypes.get_errno()
            os.close(channel)
            raise OSError(number, os.strerror(number), self._target)
        threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    def _serve(self, channel: int) -> None:
        while True:
            try:
                request = os.read(channel, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                break  # ENODEV: unmounted
            _, operation, unique, *_ = _HEAD.unpack_from(request)
            if operation in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            body = self._answer(operation)
            error_number = -body if isinstance(body, int) else 0
            data = b"" if isinstance(body, int) else body
            os.write(channel, struct.pack("=IiQ", 16 + len(data), error_number, unique) + data)
            if operation == DESTROY:
                break
        os.close(channel)

    @staticmethod
    def _answer(operation: int) -> bytes | int:
        """The body of an answer, or an error number."""
        if operation == INIT:
            return struct.pack("=IIIIHHIIHHI28x", 7, 31, 1 << 16, 0, 0, 0, 1 << 16, 1, 0, 0, 0)
        if operation == GETATTR:  # only the root is ever seen
            attributes = struct.pack(
                "=6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 512, 0
            )
            return struct.pack("=QII", 60, 0, 0) + attributes
        if operation == STATFS:
            return struct.pack("=5Q4I24x", 1 << 17, 1 << 17, 1 << 17, 0, 0, 4096, 255, 4096, 0)
        if operation == OPENDIR:
            return struct.pack("=QII", 0, 0, 0)
        if operation in (READDIR, RELEASEDIR, ACCESS, DESTROY):
            return b""
        if operation == LOOKUP:
            return errno.ENOENT
        return errno.EROFS if operation in WRITES else errno.ENOSYS
