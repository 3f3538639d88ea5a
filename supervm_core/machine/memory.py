"""Asking the kernel to take memory from one node: `set_mempolicy` and `mbind`, called by number.

glibc has no functions for these calls (libnuma has, which few machines have installed), so they are made through
`syscall`, with the numbers of the architecture's table in the kernel's sources. Both take a mode and a set of nodes as
a bit mask of unsigned longs. `MPOL_PREFERRED` is what we ask for: memory of that node as long as there is some, and any
other rather than failing. (man 2 set_mempolicy, man 2 mbind)

A policy holds for memory that is touched first afterwards; `mbind` can move pages that are there already.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supervm_core.errors import PlacementError

MPOL_DEFAULT = 0
MPOL_PREFERRED = 1
MPOL_MF_MOVE = 2
"""Move pages that only this process uses."""

LONG_BITS = 64


class Numbers(NamedTuple):
    """System call numbers of an architecture."""

    mbind: int
    get_mempolicy: int
    set_mempolicy: int


NUMBERS = {"x86_64": Numbers(237, 239, 238), "aarch64": Numbers(235, 236, 237), "riscv64": Numbers(235, 236, 237)}
"""64-bit processes: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h."""


def prefer(node: int | None) -> None:
    """Let memory that this thread touches first from now on come from a node; None for the system's own choice.

    Raises
    ------
    PlacementError
        If the system has no such call or refuses it; the policy is as it was.
    """
    mask, bits = _mask(node)
    mode = MPOL_DEFAULT if node is None else MPOL_PREFERRED
    _call("set_mempolicy", ctypes.c_int(mode), mask, ctypes.c_ulong(bits), what=_wish(node))


def preferred() -> int | None:
    """Return the node that memory of this thread comes from; None where the system chooses.

    Raises
    ------
    PlacementError
        If the system has no such call or refuses it.
    """
    mode, longs = ctypes.c_int(), 16
    mask = (ctypes.c_ulong * longs)()
    bits = ctypes.c_ulong(longs * LONG_BITS)
    # The kernel wants a mask of its own size at least, which is up to 1024 nodes.
    _call("get_mempolicy", ctypes.byref(mode), mask, bits, None, ctypes.c_ulong(0), what="to say its memory policy")
    if mode.value != MPOL_PREFERRED:
        return None
    nodes = [bit for bit in range(longs * LONG_BITS) if mask[bit // LONG_BITS] >> (bit % LONG_BITS) & 1]
    return nodes[0] if nodes else None


def move(array: NDArray[Any], node: int) -> None:
    """Move the whole pages of an array to a node; the array stays where it is in the process.

    Raises
    ------
    PlacementError
        If the system has no such call or refuses it; pages are where they were, or some of them moved.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    begin = -(-array.ctypes.data // page) * page
    end = (array.ctypes.data + array.nbytes) // page * page
    if not array.flags.c_contiguous:
        raise PlacementError("an array that is not contiguous cannot be moved as a whole; move what it is a view of")
    if end <= begin:
        return
    mask, bits = _mask(node)
    _call(
        "mbind",
        ctypes.c_void_p(begin),
        ctypes.c_ulong(end - begin),
        ctypes.c_int(MPOL_PREFERRED),
        mask,
        ctypes.c_ulong(bits),
        ctypes.c_uint(MPOL_MF_MOVE),
        what=f"to move {end - begin} bytes to node {node}",
    )


def empty(shape: int, dtype: type[np.generic], node: int) -> NDArray[Any]:
    """Return an array whose pages will come from a node when they are first touched.

    Raises
    ------
    PlacementError
        As `move` does.
    """
    array = np.empty(shape, dtype)
    move(array, node)
    return array


def _mask(node: int | None) -> tuple[Any, int]:
    """Return the bit mask of a node, and its length as the kernel wants it: one more than its bits."""
    if node is None:
        return None, 0
    if node < 0:
        raise PlacementError(f"there is no node {node}; nodes are counted from 0")
    longs = node // LONG_BITS + 1
    mask = (ctypes.c_ulong * longs)()
    mask[node // LONG_BITS] = 1 << (node % LONG_BITS)
    return mask, longs * LONG_BITS + 1


def _call(name: str, *arguments: Any, what: str) -> None:
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in NUMBERS:
        raise PlacementError(
            f"memory cannot be placed on {platform.system()} {machine}; known is Linux on {', '.join(NUMBERS)}. "
            "Leave numa-affinity off here"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(ctypes.c_long(getattr(NUMBERS[machine], name)), *arguments) != 0:
        code = ctypes.get_errno()
        raise PlacementError(f"the kernel refuses {what}: {os.strerror(code)}. {_remedy(code)}")


def _remedy(code: int) -> str:
    if code in (errno.EPERM, errno.ENOSYS):
        return "A container forbids this unless it is given SYS_NICE; leave numa-affinity off, or grant it"
    if code == errno.EINVAL:
        return "The node does not exist, or this process may not use its memory; choose one of its own"
    return "Leave numa-affinity off on this machine"


def _wish(node: int | None) -> str:
    return "its own choice of memory" if node is None else f"memory of node {node}"
