"""Registers, declared so that a class body reads like the table in the manual.

>>> class Svr(Register):
...     vector = Bits(7, 0)
...     enabled = Bits(8)
>>> Svr(0x1FF).replace(vector=0xF0)
Svr(0x1f0: vector=0xf0 enabled=0x1)
"""

from __future__ import annotations

from typing import ClassVar, Self, overload


class Bits:
    """A field of a register: bits `high` down to `low`, both inclusive; `Bits(n)` is a single bit."""

    def __init__(self, high: int, low: int | None = None) -> None:
        self.high = high
        self.low = high if low is None else low
        if not 0 <= self.low <= self.high:
            raise TypeError(f"bits {self.high}:{self.low} run the wrong way")
        self.mask = ((1 << (self.high - self.low + 1)) - 1) << self.low
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, register: None, owner: type) -> Self: ...
    @overload
    def __get__(self, register: Register, owner: type) -> int: ...
    def __get__(self, register: Register | None, owner: type) -> Self | int:
        return self if register is None else (register.value & self.mask) >> self.low

    def __set__(self, register: Register, value: int) -> None:
        register.value = self.put(register.value, value)

    def put(self, word: int, value: int) -> int:
        """`word` with this field replaced. Raises ValueError when `value` does not fit."""
        if not 0 <= value <= self.mask >> self.low:
            raise ValueError(f"{self.name}: {value:#x} does not fit bits {self.high}:{self.low}")
        return (word & ~self.mask) | (value << self.low)


class Register:
    """A register's value with named fields. Bits that no field names are reserved."""

    width: ClassVar[int] = 32
    fields: ClassVar[dict[str, Bits]] = {}
    defined: ClassVar[int] = 0  # mask of all fields

    __slots__ = ("value",)

    def __init_subclass__(cls, width: int = 32) -> None:
        cls.width = width
        cls.fields = {name: bits for name, bits in vars(cls).items() if isinstance(bits, Bits)}
        cls.defined = 0
        for name, bits in cls.fields.items():
            if bits.mask & cls.defined or bits.high >= width:
                raise TypeError(f"{cls.__name__}.{name}: bits {bits.high}:{bits.low} overlap a field or the width")
            cls.defined |= bits.mask

    def __init__(self, value: int = 0) -> None:
        self.value = value & ((1 << self.width) - 1)

    @classmethod
    def of(cls, **values: int) -> Self:
        """A register with these fields set and all else 0."""
        return cls(0).replace(**values)

    def replace(self, **values: int) -> Self:
        """A copy with these fields changed. Raises KeyError for an unknown field, ValueError for a value too wide."""
        word = self.value
        for name, value in values.items():
            word = self.fields[name].put(word, value)
        return type(self)(word)

    @property
    def reserved(self) -> int:
        """The bits set that no field names."""
        return self.value & ~self.defined

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Register) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        fields = " ".join(f"{name}={getattr(self, name):#x}" for name in self.fields)
        return f"{type(self).__name__}({self.value:#x}: {fields})"
