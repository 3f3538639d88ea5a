"""Turning what people pass into numpy columns, without losing a digit on the way.

A column is one field of many records: a contiguous, aligned numpy array of unsigned integers in the machine's byte
order, the form that compiled kernels read without further checks. People pass lists, arrays of other widths, or single
numbers. A conversion that keeps every value is made silently; one that could change a value is refused, with the place
of the first value that does not fit. Floats are always refused: above 2**53 they have lost digits before we see them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

UINT64_MAX = 2**64 - 1


def as_column(
    name: str, values: ArrayLike, dtype: type[np.unsignedinteger[Any]], error: type[Exception]
) -> NDArray[Any]:
    """Give `values` as a contiguous array of `dtype`, sharing memory where nothing has to change.

    Parameters
    ----------
    name : str
        What to call the column in an error.
    values : array_like of int
        A number, a (nested) sequence of integers, or an integer array of any width and byte order.
    dtype : unsigned numpy integer type
        The type of the column.
    error : type of exception
        What to raise for values that `dtype` cannot hold exactly.
    """
    limits = np.iinfo(dtype)
    if isinstance(values, np.ndarray) and values.dtype != object:
        array: NDArray[Any] = np.asarray(values)
        if array.dtype.kind not in "iu":
            raise error(f"column {name!r} has type {array.dtype}; integers are wanted, floats lose digits above 2**53")
        if array.dtype != dtype and array.size and (int(array.max()) > limits.max or int(array.min()) < 0):
            position = int(np.argmax((array.ravel() < 0) | (array.ravel() > limits.max)))
            raise _out_of_range(name, array.ravel()[position], position, limits, error)
        return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    # numpy would read [2**63, 1] as floats: look at each number before it does.
    try:
        array = np.asarray(values, dtype=object)
    except ValueError as ragged:
        raise error(f"column {name!r} is ragged: its rows differ in length") from ragged
    for position, value in enumerate(array.ravel()):
        if isinstance(value, bool | np.bool) or not isinstance(value, int | np.integer):
            raise error(f"column {name!r} holds {value!r} at position {position}; integers are wanted")
        if not 0 <= int(value) <= limits.max:
            raise _out_of_range(name, value, position, limits, error)
    return np.array(array, dtype=dtype, order="C")


def _out_of_range(name: str, value: object, position: int, limits: np.iinfo[Any], error: type[Exception]) -> Exception:
    return error(f"column {name!r} holds {value} at position {position}, outside 0..{limits.max} ({limits.dtype})")


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of `array` through which it cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view
