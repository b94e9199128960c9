"""The C yardstick: a small file with the kernel's loops, built with the host's compiler when it is wanted."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from minikern.host.children import run_tool
from minikern.host.output import scratch_folder
from minikern.mm.page.struct_page import Words

FLAGS = ("-O2", "-std=c11", "-shared", "-fPIC")
SOURCE = "struct_page.c"
BUILD_SECONDS = 60


class NoCompiler(RuntimeError):  # noqa: N818 - the name says what is missing
    """The yardstick cannot be built here; the message says why."""


class CKernels:
    """The loops of ``struct_page.c``, callable on rows; they run without the GIL."""

    def __init__(self) -> None:
        """Build and load them. NoCompiler without source or compiler, or when the compiler fails."""
        with scratch_folder() as folder:
            # A library that is loaded does not need its file any more.
            self.command, self._lib = _build(folder.path / "struct_page.so")
        size, word, pointer = ctypes.c_size_t, ctypes.c_uint64, ctypes.c_void_p
        self._lib.pages_init.argtypes = [pointer, size, word, word, word]
        self._lib.pages_free.argtypes = [pointer, size, word]
        self._lib.pages_init_free.argtypes = [pointer, size, word, word, word, size]
        for name in ("pages_init", "pages_free", "pages_init_free"):
            getattr(self._lib, name).restype = None

    def init(self, words: Words, links: int, cpupid: int, lru: int) -> None:
        """Initialise every page."""
        self._lib.pages_init(words.ctypes.data, len(words), links, cpupid, lru)

    def free(self, words: Words, reserved: int) -> None:
        """Clear the reference and the ``reserved`` bits of every page."""
        self._lib.pages_free(words.ctypes.data, len(words), reserved)

    def init_free(self, words: Words, links: int, cpupid: int, lru: int, run: int) -> None:
        """Initialise and free, ``run`` pages at a time."""
        self._lib.pages_init_free(words.ctypes.data, len(words), links, cpupid, lru, run)


def c_source() -> Path | None:
    """The C file: beside the package in a checkout, inside it when installed; None if it is in neither place."""
    here = Path(__file__).resolve().parent
    return next((path for path in (here.parents[1] / "bench" / "c" / SOURCE, here / SOURCE) if path.is_file()), None)


def _build(library: Path) -> tuple[str, ctypes.CDLL]:
    source, compiler = c_source(), shutil.which(os.environ.get("CC") or "cc")
    if source is None:
        raise NoCompiler(f"{SOURCE} is not installed: run from a source checkout for ratios to C")
    if compiler is None:
        raise NoCompiler("no C compiler (cc, or $CC): ratios to C are left out")
    command = [compiler, *FLAGS, "-o", str(library), str(source)]
    try:
        done = run_tool(command, BUILD_SECONDS)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise NoCompiler(f"{compiler} failed: {reason}")
        return " ".join([Path(compiler).name, *FLAGS]), ctypes.CDLL(str(library))
    except subprocess.TimeoutExpired as error:
        raise NoCompiler(f"{compiler} took longer than {BUILD_SECONDS} s") from error
    except OSError as error:
        raise NoCompiler(f"{compiler}: {error}") from error
