"""ACPICA's names of the AML opcodes. Source: ACPI 6.5 clause 20.3"""

from __future__ import annotations

_NAMES: dict[int, str] = {
    0x00: "Zero", 0x01: "One", 0x06: "Alias", 0x08: "Name", 0x0A: "ByteConst", 0x0B: "WordConst", 0x0C: "DwordConst",
    0x0D: "String", 0x0E: "QwordConst", 0x10: "Scope", 0x11: "Buffer", 0x12: "Package", 0x13: "VarPackage",
    0x14: "Method", 0x15: "External", 0x70: "Store", 0x71: "RefOf", 0x72: "Add", 0x73: "Concatenate",
    0x74: "Subtract", 0x75: "Increment", 0x76: "Decrement", 0x77: "Multiply", 0x78: "Divide", 0x79: "ShiftLeft",
    0x7A: "ShiftRight", 0x7B: "And", 0x7C: "NAnd", 0x7D: "Or", 0x7E: "NOr", 0x7F: "XOr", 0x80: "Not",
    0x81: "FindSetLeftBit", 0x82: "FindSetRightBit", 0x83: "DerefOf", 0x84: "ConcatenateResTemplate", 0x85: "Mod",
    0x86: "Notify", 0x87: "SizeOf", 0x88: "Index", 0x89: "Match", 0x8A: "CreateDWordField", 0x8B: "CreateWordField",
    0x8C: "CreateByteField", 0x8D: "CreateBitField", 0x8E: "ObjectType", 0x8F: "CreateQWordField", 0x90: "LAnd",
    0x91: "LOr", 0x92: "LNot", 0x93: "LEqual", 0x94: "LGreater", 0x95: "LLess", 0x96: "ToBuffer",
    0x97: "ToDecimalString", 0x98: "ToHexString", 0x99: "ToInteger", 0x9C: "ToString", 0x9D: "CopyObject",
    0x9E: "Mid", 0x9F: "Continue", 0xA0: "If", 0xA1: "Else", 0xA2: "While", 0xA3: "Noop", 0xA4: "Return",
    0xA5: "Break", 0xCC: "BreakPoint", 0xFF: "Ones", 0x5B01: "Mutex", 0x5B02: "Event", 0x5B12: "CondRefOf",
    0x5B13: "CreateField", 0x5B1F: "LoadTable", 0x5B20: "Load", 0x5B21: "Stall", 0x5B22: "Sleep", 0x5B23: "Acquire",
    0x5B24: "Signal", 0x5B25: "Wait", 0x5B26: "Reset", 0x5B27: "Release", 0x5B28: "FromBCD", 0x5B29: "ToBCD",
    0x5B2A: "Unload", 0x5B30: "Revision", 0x5B31: "Debug", 0x5B32: "Fatal", 0x5B33: "Timer",
    0x5B80: "OperationRegion", 0x5B81: "Field", 0x5B82: "Device", 0x5B83: "Processor", 0x5B84: "PowerResource",
    0x5B85: "ThermalZone", 0x5B86: "IndexField", 0x5B87: "BankField", 0x5B88: "DataTableRegion",
}  # fmt: skip


def opcode_name(op: int) -> str:
    """Name of an opcode; two-byte ones begin with 0x5B."""
    if 0x60 <= op <= 0x67:
        return f"Local{op - 0x60}"
    if 0x68 <= op <= 0x6E:
        return f"Arg{op - 0x68}"
    return _NAMES.get(op, f"opcode 0x{op:02X}")
