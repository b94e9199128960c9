"""The ways in which a machine, or the description of one, can be wrong."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave (file, option, table) is wrong; the command line ends with exit status 2."""


class MachineStopped(RuntimeError):  # noqa: N818 - the name says what happened
    """The emulated machine can not go on; the command line ends with exit status 3."""


class BusError(RuntimeError):
    """An access that no address decoder can answer. `address` is the first byte (or port) of the access."""

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message, address)
        self.address = address

    def __str__(self) -> str:
        return f"{self.args[0]} at {self.address:#x}"


class GeneralProtection(RuntimeError):  # noqa: N818 - the SDM's name
    """The #GP fault: software touched an MSR, or a bit of one, that this CPU does not have.

    Source: SDM vol. 3A, "Interrupt 13 - General Protection Exception (#GP)".
    """
