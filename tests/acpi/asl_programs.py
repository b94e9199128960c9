"""Random ASL programs, for two interpreters to run side by side.

A program declares data, fields and methods, computes with all of them, and returns something; what its objects hold
afterwards is part of the answer.
"""

from __future__ import annotations

from hypothesis import strategies as st

INTEGERS, STRINGS, BUFFERS, PACKAGES = ("INT0", "INT1"), ("STR0", "STR1"), ("BUF0", "BUF1"), ("PKG0", "PKG1")
FIELDS = ("FLD0", "FLD1", "FLD2", "IDF0", "BNK0")
LOCALS = ("Local0", "Local1", "Local2")
NAMES = INTEGERS + STRINGS + BUFFERS + PACKAGES
OBSERVED = (*INTEGERS, *STRINGS, *BUFFERS, *PACKAGES, *FIELDS)
NUMBERS = st.one_of(
    st.integers(0, 20), st.sampled_from([0xFF, 0x100, 0xFFFF, 0x12345678, 0xFFFFFFFF, 0x1_0000_0000, (1 << 64) - 1])
)
TEXTS = st.sampled_from(["", "a", "12", "0x1F", "beef", "12x", " 7", "Zz9", "0123456789abcdef01", "\\INT0", "STR1"])
BYTES = st.lists(st.integers(0, 255), max_size=9)

HEAD = """DefinitionBlock ("random.aml", "DSDT", {revision}, "MK", "RANDOM", 1)
{{
    Name (INT0, {ints[0]})  Name (INT1, {ints[1]})
    Name (STR0, "{texts[0]}")  Name (STR1, "{texts[1]}")
    Name (BUF0, {bufs[0]})  Name (BUF1, {bufs[1]})
    Name (PKG0, Package (3) {{{elements}}})
    Name (PKG1, Package () {{7, Package () {{1, "x"}}, INT1, STR0, BUF0, DEV0}})
    Device (DEV0) {{}}
    Mutex (MTX0, 1)  Mutex (MTX1, 3)  Event (EVT0)
    OperationRegion (REG0, SystemMemory, 0x100000, 0x100)
    Field (REG0, {access}, NoLock, {rule})
        {{FLD0, 32, , 3, FLD1, 7, Offset (0x20), FLD2, 96, Offset (0x40), IDX0, 8, DAT0, 8, BKR0, 8}}
    IndexField (IDX0, DAT0, ByteAcc, NoLock, {rule}) {{Offset (4), IDF0, 12}}
    BankField (REG0, BKR0, 2, ByteAcc, NoLock, {rule}) {{Offset (0x50), BNK0, 9}}
    CreateWordField (BUF1, 0, BWF0)
    Method (ADD2, 2) {{ Return (Add (Arg0, Arg1)) }}
    Method (SET1, 1) {{ Arg0 = 42 Return (Arg0) }}
    Method (PASS, 1) {{ Return (Arg0) }}
    Method (NONE, 0) {{ Noop }}
    Method (MAIN, 0)
    {{
"""


def _hex(values: list[int]) -> str:
    return "Buffer () {" + ", ".join(map(str, values)) + "}"


LITERALS = st.one_of(
    NUMBERS.map(hex), TEXTS.map(lambda text: f'"{text}"'.replace("\\", "\\\\")), BYTES.filter(bool).map(_hex)
)
SOURCES = st.one_of(LITERALS, st.sampled_from((*NAMES, *FIELDS, *LOCALS, "BWF0")))
TARGETS = st.sampled_from((*NAMES, *FIELDS, *LOCALS, "BWF0", "Debug"))
_BINARY = ["Add", "Subtract", "Multiply", "ShiftLeft", "ShiftRight", "And", "NAnd", "Or", "NOr", "XOr", "Mod"]
_BINARY += ["Add", "Concatenate"]
_UNARY = ["Not", "FindSetLeftBit", "FindSetRightBit", "ToBCD", "FromBCD", "ToInteger", "ToBuffer", "ToHexString"]
_UNARY += ["ToDecimalString"]
_LOGICAL = ["LAnd", "LOr", "LEqual", "LGreater", "LLess", "LNotEqual", "LGreaterEqual", "LLessEqual"]
_MATCHES = ["MTR", "MEQ", "MLE", "MLT", "MGE", "MGT"]


def _call(name: str, *operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*operands).map(lambda words: f"{name} ({', '.join(words)})")


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    small = st.integers(0, 5).map(str)
    return st.one_of(
        st.sampled_from(_BINARY).flatmap(lambda name: _call(name, inner, inner)),
        st.sampled_from(_BINARY).flatmap(lambda name: _call(name, inner, inner, TARGETS)),
        st.sampled_from(_UNARY).flatmap(lambda name: _call(name, inner)),
        st.sampled_from(_UNARY).flatmap(lambda name: _call(name, inner, TARGETS)),
        st.sampled_from(_LOGICAL).flatmap(lambda name: _call(name, inner, inner)),
        _call("LNot", inner),
        _call("Divide", inner, inner, TARGETS, TARGETS),
        _call("Mid", inner, small, small),
        _call("ToString", inner, small),
        _call("SizeOf", TARGETS),
        _call("ObjectType", TARGETS),
        _call("DerefOf", _call("Index", st.sampled_from((*NAMES, *LOCALS)), small)),
        _call("DerefOf", _call("RefOf", st.sampled_from((*NAMES, *LOCALS)))),  # a field's is read since 20211217 only
        _call("Index", st.sampled_from((*STRINGS, *BUFFERS, *PACKAGES)), small),
        st.tuples(inner, st.sampled_from(_MATCHES), inner).map(
            lambda words: f"Match (PKG1, {words[1]}, {words[2]}, MTR, 0, 0)"
        ),
        _call("ADD2", inner, inner),
        _call("SET1", _call("RefOf", st.sampled_from((*INTEGERS, *STRINGS, *BUFFERS, *LOCALS)))),
        _call("SET1", inner),
        _call("PASS", inner),
        st.sampled_from(("Acquire (MTX0, 0)", "Acquire (MTX1, 0)", "Wait (EVT0, 5)", "CondRefOf (INT0)")),
    )


EXPRESSIONS = st.recursive(SOURCES, _expressions, max_leaves=6)


def _loop(parts: tuple[int, int, str]) -> str:
    turns, number, block = parts
    counter = next(name for name in (f"Local{n % 5 + 3}" for n in range(number, number + 5)) if name not in block)
    return f"{counter} = {turns} While ({counter}) {{ {block} {counter}-- }}"


def _statements(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[str]:
    block = inner.map(" ".join)
    return st.one_of(
        st.tuples(EXPRESSIONS, block).map(lambda parts: f"If ({parts[0]}) {{ {parts[1]} }}"),
        st.tuples(EXPRESSIONS, block, block).map(
            lambda parts: f"If ({parts[0]}) {{ {parts[1]} }} Else {{ {parts[2]} }}"
        ),
        st.tuples(st.integers(1, 4), st.integers(3, 7), block).map(_loop),
    )


_SIMPLE = st.one_of(
    _call("Store", EXPRESSIONS, TARGETS),
    _call("CopyObject", EXPRESSIONS, st.sampled_from((*INTEGERS, *STRINGS, *BUFFERS, *LOCALS))),
    st.tuples(st.sampled_from((*STRINGS, *BUFFERS, *PACKAGES, *LOCALS)), st.integers(0, 4), EXPRESSIONS).map(
        lambda words: f"Store ({words[2]}, Index ({words[0]}, {words[1]}))"
    ),
    _call("Increment", TARGETS),
    _call("Decrement", TARGETS),
    st.sampled_from(("Signal (EVT0)", "Reset (EVT0)", "Notify (DEV0, 1)", "Acquire (MTX0, 1) Release (MTX0)", "Noop")),
)
_LINES = st.recursive(
    st.lists(_SIMPLE, min_size=1, max_size=4),
    lambda inner: st.lists(st.one_of(_SIMPLE, _statements(inner)), min_size=1, max_size=3),
    max_leaves=5,
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The text of one program."""
    head = HEAD.format(
        revision=draw(st.sampled_from((1, 2, 2, 2))),
        ints=[hex(draw(NUMBERS) & 0xFFFFFFFF) for _ in range(2)],
        texts=[draw(TEXTS).replace("\\", "\\\\") for _ in range(2)],
        bufs=[_hex([*draw(BYTES), 1, 2]) for _ in range(2)],
        elements=", ".join(draw(st.lists(LITERALS, min_size=1, max_size=3))),
        access=draw(st.sampled_from(("ByteAcc", "WordAcc", "DWordAcc", "AnyAcc", "QWordAcc"))),
        rule=draw(st.sampled_from(("Preserve", "WriteAsOnes", "WriteAsZeros"))),
    )
    body = "\n        ".join([f"{name} = {draw(LITERALS)}" for name in LOCALS] + draw(_LINES))
    return f"{head}        {body}\n        Return ({draw(EXPRESSIONS)})\n    }}\n}}\n"
