"""Parts of a kernel that begin to exist at a named step of the boot."""

from __future__ import annotations

from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Part(Generic[T]):
    """An attribute that is there from the step ``since`` on; asking earlier is a mistake in the boot's order.

    Raises RuntimeError naming the part and the step: ``k.cpus was used before early_cpu_init()``.
    """

    def __init__(self, since: str) -> None:
        self.since = since
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, kernel: None, owner: type) -> Part[T]: ...

    @overload
    def __get__(self, kernel: object, owner: type) -> T: ...

    def __get__(self, kernel: object | None, owner: type) -> Part[T] | T:
        if kernel is None:
            return self
        # Once the part is set, the instance's own attribute is found before this one.
        raise RuntimeError(f"k.{self.name} was used before {self.since}")
