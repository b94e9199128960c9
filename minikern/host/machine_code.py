"""Compiled functions called without the compiler: object code in, a Python function out.

numba compiles a function once; what it made is kept as an object file and from then on loaded by LLVM alone, which is
a tenth of numba's start. The calling convention is numba's for native functions: a pointer for the result, one for an
exception, then each argument taken apart; an array is (owner, parent, elements, bytes of one, data, shape, strides).
Source: numba/core/callconv.py:CPUCallConv, numba/core/datamodel/models.py:ArrayModel; NBEP 4
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

DONE, NONE = 0, -2  # what a native function reports when nothing was raised. Source: numba/core/callconv.py
_LOCK = threading.Lock()
_SCALARS: dict[str, Any] = {
    "bool": ctypes.c_uint8, "int32": ctypes.c_int32, "int64": ctypes.c_int64, "uint8": ctypes.c_uint8,
    "uint32": ctypes.c_uint32, "uint64": ctypes.c_uint64, "float64": ctypes.c_double,
}  # fmt: skip
_ARRAY = "array "


class Code(msgspec.Struct, frozen=True):
    """One function for one set of argument types."""

    symbol: str
    arguments: tuple[str, ...]  # as :func:`type_name` names them
    results: tuple[str, ...]  # scalars; none: it returns None
    is_tuple: bool
    object_file: bytes


class MachineCodeError(RuntimeError):
    """A compiled function raised something; what, its object code alone does not say."""


def possible() -> bool:
    """True where object code is loaded: the one format and convention that this module knows."""
    import platform

    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.byteorder == "little"


def type_name(value: Any) -> str:
    """What decides which code serves an argument; empty for what only numba understands."""
    kind = type(value)
    if kind is np.ndarray:
        return _array_name(value)
    if kind is int:
        return "int64" if -(1 << 63) <= value < 1 << 63 else ""
    if kind is bool or kind is float:
        return "bool" if kind is bool else "float64"
    return _scalar_name(kind)  # type: ignore[arg-type] # a class can be hashed


@cache
def _scalar_name(kind: type[Any]) -> str:
    # numpy makes a type's name anew each time it is asked, which takes longer than many a call.
    name = np.dtype(kind).name if issubclass(kind, np.generic) else ""
    return name if name in _SCALARS else ""


@cache
def _known_dtype(dtype: np.dtype[Any]) -> str:
    plain = dtype.isnative and dtype.names is None and dtype.subdtype is None and dtype.kind in "iuf"
    return dtype.name if plain else ""


def _array_name(array: Any) -> str:
    flags, dtype = array.flags, _known_dtype(array.dtype)
    if not dtype or not flags.aligned or not array.ndim:
        return ""
    layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
    return f"{_ARRAY}{dtype} {array.ndim} {layout}{'' if flags.writeable else ' const'}"


def is_scalar(name: str) -> bool:
    """True for the types a result may consist of."""
    return name in _SCALARS


@cache
def this_processor() -> str:
    """LLVM, the processor and what of it code may use."""
    import llvmlite
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return f"{llvmlite.__version__} {llvm.get_default_triple()} {llvm.get_host_cpu_name()} {features}"


@cache
def _engine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def load(code: Code) -> Callable[..., Any]:
    """The function, which lets other threads run while it does. MachineCodeError: the object file lacks it."""
    import llvmlite.binding as llvm

    with _LOCK:
        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.object_file))
        engine.finalize_object()
        address = engine.get_function_address(code.symbol)
    if not address:
        raise MachineCodeError(f"{code.symbol}: not in its object file")
    return _caller(address, code)


def _caller(address: int, code: Code) -> Callable[..., Any]:
    kinds: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
    for name in code.arguments:
        kinds += _array_kinds(name) if name.startswith(_ARRAY) else [_SCALARS[name]]
    native = ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(address)
    fields = [(f"f{at}", _SCALARS[name]) for at, name in enumerate(code.results)]
    result_type: Any = type("Result", (ctypes.Structure,), {"_fields_": fields or [("none", ctypes.c_void_p)]})
    take = [_array_words if name.startswith(_ARRAY) else _scalar_word for name in code.arguments]
    truths = [name == "bool" for name in code.results]

    def call(*args: Any) -> Any:
        result, raised = result_type(), ctypes.c_void_p()
        words = [word for one, value in zip(take, args, strict=True) for word in one(value)]
        status = native(ctypes.addressof(result), ctypes.addressof(raised), *words)
        if status not in (DONE, NONE):
            raise MachineCodeError(f"{code.symbol}: it raised an exception (status {status})")
        return _result(result, fields, truths, code.is_tuple)

    return call


def _result(result: Any, fields: Sequence[tuple[str, Any]], truths: Sequence[bool], is_tuple: bool) -> Any:
    values = [getattr(result, name) for name, _ in fields]
    values = [bool(value) if truth else value for value, truth in zip(values, truths, strict=True)]
    return tuple(values) if is_tuple else values[0] if values else None


def _array_kinds(name: str) -> list[Any]:
    dimensions = int(name.split()[2])
    return [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
            *[ctypes.c_int64] * (2 * dimensions)]  # fmt: skip


def _array_words(array: Any) -> tuple[Any, ...]:
    # Nobody owns it as far as the code is concerned: the caller holds it while the call lasts.
    data = array.__array_interface__["data"][0]
    return (None, None, array.size, array.itemsize, data, *array.shape, *array.strides)


def _scalar_word(value: Any) -> tuple[Any, ...]:
    return (value if isinstance(value, float) else int(value),)
