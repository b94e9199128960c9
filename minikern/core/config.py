"""Kconfig values of one boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

ConfigValue = bool | int | str


class Config(Mapping[str, ConfigValue]):
    """Kconfig values of one boot, by their ``CONFIG_*`` names."""

    def __init__(self, values: Mapping[str, ConfigValue]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> ConfigValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def enabled(self, name: str) -> bool:
        """True if the option is set to y (absent options are not set)."""
        return self._values.get(name, False) is True

    def number(self, name: str) -> int:
        """Value of a numeric option; KeyError or TypeError name the option if it is absent or not a number."""
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}, not a number")
        return value
