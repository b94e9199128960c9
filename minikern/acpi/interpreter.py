"""The AML interpreter: runs table-level code and methods against a namespace.

Loading a table and calling a method are the same thing: a run through a term list. Loops and recursion are bounded, so
that damaged AML ends with an error and never with a hang.
Source: ACPI 6.5 chapters 19 and 20; drivers/acpi/acpica/{psloop,dswload2,dsmethod}.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minikern.acpi import opcodes_create, opcodes_value
from minikern.acpi.messages import bios_error, error
from minikern.acpi.namespace import Kind, Namespace, Node, resolve, shown
from minikern.acpi.regions import (
    BufferField,
    FieldUnit,
    read_buffer_field,
    read_field,
    write_buffer_field,
    write_field,
)
from minikern.acpi.stream import NAME_START, Frame
from minikern.acpi.values import AmlError, NamePath, NodeRef, SlotRef, copy, to_buffer, to_integer, to_string

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_CALL_DEPTH = 32
MAX_OPCODES = 300_000  # of one evaluation
MAX_OPCODES_TOTAL = 3_000_000  # of one boot
Handler = Callable[["Interpreter", Frame], Any]


@dataclass(slots=True)
class MethodCode:
    """A control method: where its body lies. ``builtin`` replaces the body for methods the kernel provides."""

    data: bytes
    start: int
    end: int
    arguments: int
    width: int
    builtin: Callable[[Interpreter, list[Any]], Any] | None = None


class ReturnSignal(Exception):  # noqa: N818 - control flow, not an error
    """Return from the running method."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Interpreter:
    """Runs AML. ``opcodes`` counts the terms executed, ``objects`` the named objects created."""

    def __init__(self, k: Kernel, namespace: Namespace) -> None:
        self.k = k
        self.namespace = namespace
        self.opcodes = 0
        self.objects = 0
        self.loaded_tables = 0
        self.loaded_by_name: set[int] = set()  # addresses of tables LoadTable has taken
        self.width = 8  # bytes of an integer
        self._limit = MAX_OPCODES
        self._depth = 0
        self._handlers: dict[int, Handler] = {**opcodes_value.HANDLERS, **opcodes_create.HANDLERS}
        osi = MethodCode(b"", 0, 0, 1, 8, builtin=_osi)
        namespace.root.children["_OSI"] = Node("_OSI", namespace.root, Kind.METHOD, osi)

    # running

    def run_table(self, data: bytes, start: int) -> None:
        """Execute a definition block from ``start`` to its end at the root scope. AmlError for the first damage."""
        if data[:4] == b"DSDT":
            self.width = 4 if data[8] < 2 else 8  # the DSDT's revision sets the integer width of all tables
        self._limit = min(self.opcodes + MAX_OPCODES, MAX_OPCODES_TOTAL)
        frame = Frame(data, start, len(data), self.namespace.root, self.width)
        self._guarded(lambda: self.block(frame, frame.end, frame.scope))

    def _guarded(self, body: Callable[[], Any]) -> Any:
        try:
            return body()
        except RecursionError:
            raise AmlError("AE_AML_METHOD_LIMIT", "terms nest too deeply") from None
        except ReturnSignal as signal:
            return signal.value
        except (opcodes_value.BreakSignal, opcodes_value.ContinueSignal):
            return None

    def block(self, frame: Frame, end: int, scope: Node) -> None:
        """Execute terms up to ``end`` with names looked up from ``scope``."""
        outer_end, outer_scope = frame.end, frame.scope
        frame.end, frame.scope = end, scope
        if frame.created is None:
            self._table_level(frame, end, scope)
        while frame.pos < end:
            self.term(frame)
        frame.end, frame.scope, frame.pos = outer_end, outer_scope, end

    def _table_level(self, frame: Frame, end: int, scope: Node) -> None:
        # Outside methods a term that fails on what it names is left out; damage ends the table.
        while frame.pos < end:
            start = frame.pos
            try:
                self.term(frame)
            except AmlError as problem:
                if problem.offset < 0:
                    problem.offset, problem.opcode = start, frame.data[start]
                if problem.status not in RECOVERABLE:
                    raise
                self._report_skip(problem, scope)
                frame.end, frame.scope = end, scope
                frame.pos = _package_end_at(frame, start)

    def _report_skip(self, problem: AmlError, scope: Node) -> None:
        if problem.status == "AE_NOT_FOUND":
            where = shown(scope.path, str(problem))
            bios_error(self.k, f"Could not resolve symbol [{where}], AE_NOT_FOUND", {"": "psargs-332"})
        else:
            text = f"{problem.status}, {problem} (opcode 0x{problem.opcode:X} at table offset 0x{problem.offset:X})"
            error(self.k, f"{text}: term left out", {"": "psloop-502"})

    def term(self, frame: Frame) -> Any:
        """Execute one term and return its value."""
        at = frame.pos
        if at >= frame.end:
            raise AmlError("AE_AML_NO_OPERAND", "the block ends where an operand is needed", offset=at)
        op = frame.data[at]
        self.opcodes += 1
        if op in NAME_START:
            return self._name_term(frame)
        frame.pos = at + 1
        if op == 0x5B:
            op = 0x5B00 | frame.byte()
        handler = self._handlers.get(op)
        if handler is None:
            raise AmlError("AE_AML_BAD_OPCODE", "unknown opcode", op, at)
        return handler(self, frame)

    def integer(self, frame: Frame) -> int:
        """Execute one term and take its value as an integer."""
        return to_integer(self.value(self.term(frame)))

    def _name_term(self, frame: Frame) -> Any:
        at = frame.pos
        prefix, segments = frame.name_path()
        node = self.find(frame.scope, prefix, segments)
        if node is None:
            raise AmlError("AE_NOT_FOUND", prefix + ".".join(segments), offset=at)
        if node.kind is Kind.METHOD:
            count = node.value.arguments
            return self.call(node, [self.value(self.term(frame)) for _ in range(count)])
        return self.load_node(node)

    def find(self, scope: Node, prefix: str, segments: list[str]) -> Node | None:
        """The object a name string means in ``scope``."""
        node = scope
        if prefix.startswith("\\"):
            node = self.namespace.root
        else:
            for _ in prefix:
                node = node.parent or node
        return resolve(self.namespace.lookup(node, segments, search=not prefix and len(segments) == 1))

    def call(self, node: Node, args: list[Any]) -> Any:
        """Invoke a method; what it creates goes away again when it ends."""
        code: MethodCode = node.value
        if code.builtin is not None:
            return code.builtin(self, args)
        if self._depth >= MAX_CALL_DEPTH:
            raise AmlError("AE_AML_METHOD_LIMIT", f"calls nest more than {MAX_CALL_DEPTH} deep")
        frame = Frame(code.data, code.start, code.end, node, code.width, args)
        self._depth += 1
        try:
            self.block(frame, code.end, node)
            return 0
        except ReturnSignal as signal:
            return signal.value
        except AmlError as problem:
            self._report_abort(node, problem)
            raise
        finally:
            self._depth -= 1
            for made in frame.created or ():
                if made.parent is not None and made.parent.children.get(made.name) is made:
                    del made.parent.children[made.name]

    def _report_abort(self, node: Node, problem: AmlError) -> None:
        if problem.status == "AE_NOT_FOUND" and problem.offset >= 0:
            symbol = shown(node.path, str(problem))
            bios_error(self.k, f"Could not resolve symbol [{symbol}], AE_NOT_FOUND", {"": "psargs-332"})
            problem.offset = -1
        text = f"Aborting method {shown(node.path)} due to previous error ({problem.status})"
        error(self.k, text, {"": "psparse-529"})

    def tick(self) -> None:
        """Refuse to go on when the evaluation has run too long; loops call this once a turn."""
        if self.opcodes > self._limit:
            raise AmlError("AE_AML_LOOP_TIMEOUT", f"more than {MAX_OPCODES} opcodes")

    # objects

    def evaluate(self, scope: Node, name: str, default: Any = None, args: list[Any] | None = None) -> Any:
        """Value of ``name`` directly below ``scope``, a method called; ``default`` if it is absent or fails.

        Source: drivers/acpi/acpica/nseval.c:acpi_ns_evaluate() @ v6.12
        """
        node = scope.child(name)
        if node is None:
            return default
        self._limit = min(self.opcodes + MAX_OPCODES, MAX_OPCODES_TOTAL)
        try:
            if node.kind is Kind.METHOD:
                given = (args or []) + [0] * node.value.arguments
                return self._guarded(lambda: self.value(self.call(node, given[: node.value.arguments])))
            return self.load_node(node)
        except AmlError:
            return default

    def load_node(self, node: Node) -> Any:
        """Value of a named object; objects that are not data give a reference."""
        value = node.value
        if isinstance(value, FieldUnit):
            number = read_field(self, value)
            return number if value.bits <= 64 else bytearray(number.to_bytes((value.bits + 7) // 8, "little"))
        if isinstance(value, BufferField):
            return read_buffer_field(value)
        if node.kind in (Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE):
            return value
        return NodeRef(node)

    def store_node(self, node: Node, value: Any) -> None:
        """Store with conversion to the type the object has."""
        held = node.value
        if isinstance(held, FieldUnit):
            number = int.from_bytes(value, "little") if isinstance(value, bytearray) else to_integer(value)
            write_field(self, held, number & ((1 << held.bits) - 1))
        elif isinstance(held, BufferField):
            write_buffer_field(held, value)
        elif node.kind is Kind.INTEGER and isinstance(value, int | str | bytearray):
            node.value = to_integer(value)
        elif node.kind is Kind.STRING and isinstance(value, int | str | bytearray):
            node.value = to_string(value)
        elif node.kind is Kind.BUFFER and isinstance(value, int | str | bytearray) and held:
            held[:] = to_buffer(value)[: len(held)].ljust(len(held), b"\0")
        elif node.kind in (Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE, Kind.UNTYPED):
            self.set_object(node, copy(value))

    def set_object(self, node: Node, value: Any) -> None:
        """Make ``node`` a data object of the value's own type."""
        node.value = value
        node.kind = KINDS.get(type(value), Kind.UNTYPED)

    def store(self, value: Any, target: Node | NodeRef | SlotRef | None) -> None:
        """Store into what :meth:`target` gave."""
        if target is None:
            return
        if isinstance(target, Node):
            self.store_node(target, value)
        elif isinstance(target, NodeRef):
            self.store_node(target.node, value)
        else:
            target.store(copy(value))

    def target(self, frame: Frame) -> Node | NodeRef | SlotRef | None:
        """Read a target operand: a name, local, argument, reference expression, or nothing."""
        op = frame.data[frame.pos] if frame.pos < frame.end else 0
        if op in NAME_START:
            return self.node(frame)
        if op == 0:
            frame.byte()
            return None
        if 0x60 <= op <= 0x67:
            frame.byte()
            return SlotRef(frame.locals, op - 0x60)
        if 0x68 <= op <= 0x6E:
            frame.byte()
            held = frame.args[op - 0x68]
            return held if isinstance(held, NodeRef | SlotRef) else SlotRef(frame.args, op - 0x68)
        value = self.term(frame)
        return value if isinstance(value, NodeRef | SlotRef) else None

    def node(self, frame: Frame) -> Node:
        """Read a name that must exist."""
        at = frame.pos
        prefix, segments = frame.name_path()
        node = self.find(frame.scope, prefix, segments)
        if node is None:
            raise AmlError("AE_NOT_FOUND", prefix + ".".join(segments), offset=at)
        return node

    def value(self, value: Any) -> Any:
        """The data behind a package's name reference; everything else as it is."""
        if isinstance(value, NamePath):
            node = self.namespace.find(value.path, value.scope)
            if node is None:
                raise AmlError("AE_NOT_FOUND", value.path)
            return self.load_node(node) if node.kind in DATA else NodeRef(node)
        return value

    def dereference(self, value: Any) -> Any:
        """DerefOf."""
        if isinstance(value, SlotRef):
            return self.value(value.load())
        if isinstance(value, NodeRef):
            return self.load_node(value.node)
        if isinstance(value, str):
            node = self.namespace.find(value)
            if node is not None:
                return self.load_node(node)
        return self.value(value)

    # creation

    def create(self, frame: Frame, kind: Kind, value: Any = None) -> Node | None:
        """Create the object whose name comes next; None, after ACPICA's lines, when its place is taken or missing."""
        prefix, segments = frame.name_path()
        name = prefix + ".".join(segments)
        if not segments:
            raise AmlError("AE_AML_BAD_NAME", "an object needs a name", offset=frame.pos)
        parent = self._parent(frame.scope, prefix, segments)
        existing = parent.children.get(segments[-1]) if parent is not None else None
        if parent is None or existing is not None:
            self._report_catalog(name, frame, "AE_NOT_FOUND" if parent is None else "AE_ALREADY_EXISTS")
            return None
        return self.add(frame, parent, segments[-1], kind, value)

    def add(self, frame: Frame, parent: Node, name: str, kind: Kind, value: Any = None) -> Node:
        """Put a new object into the namespace."""
        made = Node(name, parent, kind, value)
        parent.children[name] = made
        self.objects += 1
        if frame.created is not None:
            frame.created.append(made)
        return made

    def _parent(self, scope: Node, prefix: str, segments: list[str]) -> Node | None:
        if len(segments) == 1 and not prefix:
            return scope
        node = self.namespace.root if prefix.startswith("\\") else scope
        if not prefix.startswith("\\"):
            for _ in prefix:
                node = node.parent or node
        return resolve(self.namespace.lookup(node, segments[:-1], search=False))

    def _report_catalog(self, name: str, frame: Frame, status: str) -> None:
        where = shown(frame.scope.path, name)
        if status == "AE_ALREADY_EXISTS":
            bios_error(self.k, f"Failure creating named object [{where}], {status}", {"": "dswload2-326"})
        else:
            bios_error(self.k, f"Could not resolve symbol [{where}], {status}", {"": "dswload2-162"})
        error(self.k, f"{status}, During name lookup/catalog", {"": "psobject-220"})

    def is_pci_root(self, device: Node) -> bool:
        """True for a device whose ids include PNP0A03 or PNP0A08."""
        ids = [self.evaluate(device, "_HID"), self.evaluate(device, "_CID")]
        flat = [item for entry in ids for item in (entry if isinstance(entry, list) else [entry])]
        return any(hardware_id(self.value(item)) in ("PNP0A03", "PNP0A08") for item in flat)


def _package_end_at(frame: Frame, start: int) -> int:
    # Where the term at ``start`` ends when it is coded with a length; otherwise the rest of the block goes with it.
    op = frame.data[start]
    frame.pos = start + 1
    if op == 0x5B:
        op = 0x5B00 | frame.byte()
    if op in WITH_LENGTH:
        return frame.package_end()
    return frame.end


# Source: ACPI 6.5 clause 20.2.5: opcodes followed by a package length
WITH_LENGTH = frozenset({0x10, 0x14, 0xA0, 0xA1, 0xA2, 0x5B81, 0x5B82, 0x5B83, 0x5B84, 0x5B85, 0x5B86, 0x5B87})
RECOVERABLE = frozenset({
    "AE_NOT_FOUND", "AE_AML_OPERAND_TYPE", "AE_AML_UNINITIALIZED_LOCAL", "AE_AML_UNINITIALIZED_ARG",
    "AE_AML_UNINITIALIZED_ELEMENT", "AE_AML_DIVIDE_BY_ZERO", "AE_AML_LOOP_TIMEOUT",
})  # fmt: skip
KINDS: dict[type, Kind] = {
    int: Kind.INTEGER,
    str: Kind.STRING,
    bytearray: Kind.BUFFER,
    list: Kind.PACKAGE,
}
DATA = frozenset({
    Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE,
    Kind.BUFFER_FIELD, Kind.REGION_FIELD, Kind.BANK_FIELD, Kind.INDEX_FIELD,
})  # fmt: skip


def hardware_id(value: Any) -> str:
    """Text of a _HID, _CID or _UID value: an EISA id when it is an integer. Source: ACPI 6.5 clause 6.1.5"""
    if isinstance(value, str):
        return value
    if not isinstance(value, int):
        return ""
    number = int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "big")
    letters = "".join(chr((number >> shift & 0x1F) + 0x40) for shift in (26, 21, 16))
    return f"{letters}{number & 0xFFFF:04X}"


# What Linux claims to be. Source: drivers/acpi/acpica/utosi.c @ v6.12
_OSI_STRINGS = frozenset({
    "Windows 2000", "Windows 2001", "Windows 2001 SP1", "Windows 2001.1", "Windows 2001 SP2", "Windows 2001.1 SP1",
    "Windows 2006", "Windows 2006.1", "Windows 2006 SP1", "Windows 2006 SP2", "Windows 2009", "Windows 2012",
    "Windows 2013", "Windows 2015", "Windows 2016", "Windows 2017", "Windows 2017.2", "Windows 2018",
    "Windows 2018.2", "Windows 2019", "Windows 2020", "Windows 2021", "Windows 2022",
    "Module Device", "Processor Device", "Processor Aggregator Device",
})  # fmt: skip


def _osi(run: Interpreter, args: list[Any]) -> Any:
    text = args[0]
    if text == "Linux":
        run.k.printk("ACPI: [Firmware Bug]: BIOS _OSI(Linux) query ignored")
        return 0
    if text == "3.0 _SCP Extensions":
        return 0xFFFF_FFFF_FFFF_FFFF if run.k.behaviour.get("acpi_osi_scp") else 0
    return 0xFFFF_FFFF_FFFF_FFFF if text in _OSI_STRINGS else 0
