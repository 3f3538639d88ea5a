"""How kernels are compiled: with numba, once per machine, for exactly one signature.

A signature given in advance means that the machine code is made, or read from the cache, when the module is imported:
no batch pays for it later because its arrays happened to be of another kind. Kernels release the GIL while they run.

The cache lies beside the source, or in the user's cache directory where the source cannot be written, or wherever
NUMBA_CACHE_DIR says. Where none of these can be written the kernel is compiled anew in each process: seconds, nothing
worse.

numba discards a cached kernel when the kernel's own file or a variable of its closure changes, but not when a constant
in another module does. A kernel must therefore take every constant from another module through its closure; a test
holds this. `prefetch` is the exception: it changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from supervm_core.errors import MissingDependencyError

try:
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic
except ImportError as missing:
    raise MissingDependencyError(
        "compiled executors need numba: pip install 'pytest-supervm[core]' "
        "(without it, SuperVM(..., executor='reference') works, slowly)"
    ) from missing

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def reads(dtype: str, dimensions: int = 1) -> Any:
    """The type of a contiguous array that a kernel only reads; writable arrays are accepted too."""
    return types.Array(getattr(types, dtype), dimensions, "C", readonly=True)


def writes(dtype: str, dimensions: int = 1) -> Any:
    """The type of a contiguous array that a kernel changes."""
    return types.Array(getattr(types, dtype), dimensions, "C")


number = types.uint64
"""The type of a number that is passed by itself."""

flag = types.boolean

LEDGER = [writes("uint64")] * 3
"""Balances, nonces, storage."""

BATCH = [
    reads("uint8"), reads("uint32"), reads("uint32"), reads("uint64"), reads("uint64"), reads("uint32"),
    reads("uint64"), reads("uint64", dimensions=2), reads("uint32"), reads("uint64"), reads("uint64"),
]  # fmt: skip
"""Kind, sender, receiver, amount, nonce, program, gas limit, arguments, access, and the two columns of access lists."""

PAYMENTS = BATCH[:5]
"""Those of them that matter for transactions that are not calls."""

CODE = [reads("uint8"), reads("uint64"), reads("uint64"), *[reads("uint8")] * 4, reads("uint64"), reads("uint64")]
"""The columns of `Code`, in its order."""

RECEIPTS = [writes("uint8"), writes("uint64")]
"""Status and gas used."""


def compiled(arguments: Sequence[Any]) -> Callable[[Kernel], Kernel]:
    """Compile a function of these argument types that returns nothing."""
    signature = types.void(*arguments)

    def compile_now(function: Kernel) -> Kernel:
        try:
            kernel: Kernel = njit(signature, nogil=True, cache=True)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            kernel = njit(signature, nogil=True)(function)
        return kernel

    return compile_now


def _prefetch(_typing: Any, array: Any, _place: Any) -> Any:
    """Ask the processor to have ``array[place]`` in its cache soon: ``prefetch(array, place)``, place a uint64.

    A hint (LLVM's ``llvm.prefetch``, for writing, to be kept). It never faults, so the place may lie outside the array:
    a kernel can look ahead at numbers that it has not yet compared with anything.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        address = builder.bitcast(builder.gep(data, [values[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch", [cgutils.voidptr_t], ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, *[number] * 3])
        )
        builder.call(hint, [address, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


prefetch: Any = intrinsic(_prefetch)

clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))
"""The C library's: a clock's number, and the address of two 64-bit words for seconds and nanoseconds."""
