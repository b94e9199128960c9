"""What the specification says predefined names return.

A type is a set of letters: I integer, S string, B buffer, P package, R reference, N nothing, * anything. A package has
a shape (ACPICA's PTYPE) with its numbers and types.
Source: ACPI 6.5 clause 5.7.6 and the clause of each name; drivers/acpi/acpica/acpredef.h @ v6.12
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Shape = Literal[
    "FIXED", "VAR", "OPTION", "PACKAGES", "PACKAGES_FIXED", "PACKAGES_MIN", "PACKAGES_COUNT", "PACKAGES_FIX_VAR",
    "COUNTED", "REVISED", "VAR_VAR", "UUID_PAIRS", "CUSTOM",
]  # fmt: skip


class Unfit(Exception):  # noqa: N818 - a status of the check, not an error of the program
    """The value is not what was expected and cannot be made so; ``status`` is ACPICA's."""

    def __init__(self, status: str = "AE_AML_OPERAND_TYPE") -> None:
        super().__init__(status)
        self.status = status


class PackageInfo(NamedTuple):
    """Contents of a package: ``groups`` of (types, how many), or the types of each element."""

    shape: Shape
    groups: tuple[tuple[str, int], ...]


class ReturnInfo(NamedTuple):
    """Types a name may return, and the package's contents where it may be one."""

    types: str
    package: PackageInfo | None = None


def _each(names: str, types: str, shape: Shape | None = None, *groups: tuple[str, int]) -> dict[str, ReturnInfo]:
    info = ReturnInfo(types, PackageInfo(shape, groups) if shape is not None else None)
    return dict.fromkeys(names.split(), info)


RETURNS: dict[str, ReturnInfo] = {
    **_each(
        "_AC0 _AC1 _AC2 _AC3 _AC4 _AC5 _AC6 _AC7 _AC8 _AC9 _ADR _ALC _ALI _ALP _ALT _BBN _BCT _BDN _BMA _BMS _BPT _BQC "
        "_BTM _CBA _CCA _CDM _CR3 _CRT _CWS _DCK _DCS _DGS _DSC _EC_ _ERR _GAI _GCP _GHL _GLK _GPD _GPE _GSB _GWS _HOT "
        "_VDM _HRV _IFT _LID _LSW _MSM _MTL _NTT _PAI _PDL _PMM _PPC _PPE _PSC _PSR _PSV _PTP _PXM _REV _RMV _RTV _S1D "
        "_S2D _S3D _S4D _S0W _S1W _S2W _S3W _S4W _SBS _SEG _SHL _SPD _SRT _SRV _STA _STP _STV _SUN _SWS _TC1 _TC2 _TDL "
        "_TFP _TIP _TIV _TMP _TPC _TSP _TST _TZP _UPD _UPP _VPO _WPC _WPP",
        "I",
    ),
    **_each(
        "_AEI _CRS _DMA _FDE _FIT _GRT _GTF _GTM _HMA _MAT _NBS _NCH _NIC _NIG _NIH _OSC _PRS _ROM _SLI _STR _WDG", "B"
    ),
    **_each("_DDN _EJD _OS_ _SUB", "S"),
    **_each("_TSN _TZM", "R"),
    **_each("_DDC", "IB"),
    **_each("_HID _UID", "IS"),
    **_each("_WED", "ISB"),
    **_each("_CID", "ISP", "VAR", ("IS", 0)),
    **_each("_WAK", "NIP", "FIXED", ("I", 2)),
    **_each("_PCT _PTC", "P", "FIXED", ("B", 2)),
    **_each("_SBW", "P", "FIXED", ("BI", 1)),
    **_each("_LSR _SBI", "P", "FIXED", ("I", 1), ("B", 1)),
    **_each("_PMC", "P", "FIXED", ("I", 11), ("S", 3)),
    **_each("_FDI", "P", "FIXED", ("I", 16)),
    **_each("_PUR", "P", "FIXED", ("I", 2)),
    **_each("_SBR _SBT", "P", "FIXED", ("I", 2), ("BI", 1)),
    **_each("_CBR _CLS _FST _LSI", "P", "FIXED", ("I", 3)),
    **_each("_PIF", "P", "FIXED", ("I", 3), ("S", 3)),
    **_each("_BPC _BST _FIF _HPP _SBA _UPC", "P", "FIXED", ("I", 4)),
    **_each("_BMD _BPS", "P", "FIXED", ("I", 5)),
    **_each("_MBM", "P", "FIXED", ("I", 8)),
    **_each("_BIF", "P", "FIXED", ("I", 9), ("S", 4)),
    **_each("_PRR", "P", "FIXED", ("R", 1)),
    **_each("_PRW", "P", "OPTION", ("IP", 1), ("I", 1), ("R", 0)),
    **_each("_PLD", "P", "VAR", ("B", 0)),
    **_each("_BCL _DOD _FIX _S0_ _S1_ _S2_ _S3_ _S4_ _S5_", "P", "VAR", ("I", 0)),
    **_each("_CPC", "P", "VAR", ("IBP", 0)),
    **_each(
        "_AL0 _AL1 _AL2 _AL3 _AL4 _AL5 _AL6 _AL7 _AL8 _AL9 _DEP _EDL _PCL _PMD _PR0 _PR1 _PR2 _PR3 _PRE _PRL _PSL _TZD",
        "P", "VAR", ("R", 0),
    ),
    **_each("_ALR", "P", "PACKAGES", ("I", 2)),
    **_each("_TSS", "P", "PACKAGES", ("I", 5)),
    **_each("_PSS", "P", "PACKAGES", ("I", 6)),
    **_each("_TRT", "P", "PACKAGES", ("R", 2), ("I", 6)),
    **_each("_MLS", "P", "PACKAGES", ("S", 1), ("B", 1)),
    **_each("_CSD _PSD", "P", "PACKAGES_COUNT", ("I", 0)),
    **_each("_TSD", "P", "PACKAGES_COUNT", ("I", 5)),
    **_each("_PRT", "P", "PACKAGES_FIXED", ("I", 1), ("I", 1), ("IR", 1), ("I", 1)),
    **_each("_DLM", "P", "PACKAGES_FIX_VAR", ("R", 1), ("RB", 0)),
    **_each("_HPX", "P", "PACKAGES_MIN", ("I", 5)),
    **_each("_CST", "P", "COUNTED", ("B", 1), ("I", 3)),
    **_each("_LPD", "P", "REVISED", ("I", 2)),
    **_each("_FPS", "P", "REVISED", ("I", 5)),
    **_each("_ART", "P", "REVISED", ("R", 2), ("I", 11)),
    **_each("_DSD", "P", "UUID_PAIRS", ("B", 1), ("P", 1)),
    **_each("_LPI _RDI", "P", "VAR_VAR"),
    **_each("_BIX", "P", "CUSTOM", ("I", 16), ("S", 4)),
}  # fmt: skip
_WORDS = {"I": "Integer", "S": "String", "B": "Buffer", "P": "Package", "R": "Reference"}


def expected_words(types: str) -> str:
    """The types as ACPICA lists them. Source: drivers/acpi/acpica/utpredef.c:acpi_ut_get_expected_return_types()"""
    return "/".join(word for letter, word in _WORDS.items() if letter in types)
