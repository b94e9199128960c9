"""The AML interpreter: runs table-level code and methods against a namespace.

Loading a table and calling a method are the same thing: a run through a term list. What differs is how an error ends:
a method is aborted, a table goes on behind the term that failed.
Source: ACPI 6.5 chapters 19 and 20; drivers/acpi/acpica/{psloop,psobject,dswload2}.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import (
    opcodes_control,
    opcodes_create,
    opcodes_data,
    opcodes_field,
    opcodes_reference,
    opcodes_sync,
    opcodes_value,
)
from minikern.acpi.account import Account
from minikern.acpi.declarations import declare
from minikern.acpi.deferred import Deferred
from minikern.acpi.evaluate import FreshThread, evaluate
from minikern.acpi.loops import PATIENCE, LoopGuard
from minikern.acpi.messages import bios_error, error, skipped_block
from minikern.acpi.methods import ReturnSignal, call
from minikern.acpi.operands import load_node
from minikern.acpi.osi import install_osi
from minikern.acpi.profile import Profile
from minikern.acpi.results import NAMES
from minikern.acpi.skim import skip_term
from minikern.acpi.spaces import SpaceHandler, default_spaces
from minikern.acpi.stream import NAME_START, Frame
from minikern.acpi.sync import Mutex, Thread
from minikern.acpi.values import AmlError, MethodAborted, OperandError, ParseError
from minikern.core.moduleparam import Parameter, setup_param
from minikern.state.acpi import Table
from minikern.state.namespace import Kind, Namespace, Node, resolve, shown

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

Handler = Callable[["Interpreter", Frame], Any]
HANDLERS: dict[int, Handler] = {
    **opcodes_data.HANDLERS,
    **opcodes_value.HANDLERS,
    **opcodes_reference.HANDLERS,
    **opcodes_control.HANDLERS,
    **opcodes_sync.HANDLERS,
    **opcodes_create.HANDLERS,
    **opcodes_field.HANDLERS,
}
NOT_SWALLOWED = frozenset({
    "AE_NOT_EXIST", "AE_TYPE", "AE_SUPPORT", "AE_TIME", "AE_ERROR", "AE_BAD_CHARACTER", "AE_BAD_PARAMETER",
    "AE_NOT_IMPLEMENTED", "AE_LIMIT", "AE_NULL_OBJECT",
})  # fmt: skip
"""Statuses outside ACPICA's AML class: a table-level term that ends with one also leaves its blocks."""


STATUS_CODES = {"AE_AML_OPERAND_TYPE": 0x3003, "AE_AML_UNINITIALIZED_LOCAL": 0x3005, "AE_AML_UNINITIALIZED_ARG": 0x3006,
                "AE_AML_UNINITIALIZED_ELEMENT": 0x3007}  # fmt: skip
"""ACPICA's numbers of what an operand can end with. Source: include/acpi/acexcep.h @ v6.12"""
CREATE_FIELDS = frozenset({0x8A, 0x8B, 0x8C, 0x8D, 0x8F, 0x5B13})
EXECUTED = frozenset({*range(0x70, 0xA0), *range(0x5B12, 0x5B34)}) - CREATE_FIELDS - {0x5B13, 0x9F}


class Interpreter:
    """Runs AML. ``opcodes`` counts the terms executed, ``objects`` the named objects created.

    ``slack`` is the tolerance Linux grants unless told to be strict: methods return their last value, locals start as
    zero. ``changes`` counts what a loop can have changed.
    """

    def __init__(
        self, k: Kernel, namespace: Namespace, slack: bool = True, spaces: dict[int, SpaceHandler] | None = None
    ) -> None:
        self.k = k
        self.namespace = namespace
        self.slack = slack
        self.revision = k.behaviour.acpi_core_revision
        self.opcodes = 0
        self.calls = 0  # of methods
        self.objects = 0
        self.changes = 0
        self.slept_us = 0
        self.patience = PATIENCE
        self.loaded_tables = 0
        self.loaded_by_name: set[int] = set()  # addresses of tables LoadTable has taken
        self.dynamic_tables: dict[int, Table] = {}  # what Load has loaded, by number
        self.loaded_once: list[Table] = []  # and what it ever has
        self.owner = 0  # number of the table being loaded
        self.unsettled = False  # a table brought packages that may name objects, or objects that lack their operands
        self.width: int = 8  # bytes of an integer
        self.depth = 0  # methods that run
        self.auto_serialize = not k.cmdline.has("acpi_no_auto_serialize")
        self.thread = Thread()
        self.spaces = default_spaces() if spaces is None else spaces
        self.notifications: list[tuple[Node, int]] = []
        self.wait_until: Callable[[Callable[[], bool]], None] | None = None  # where evaluations are run in turns
        self.deferred = Deferred() if k.experiment.acpi_tables == "needed" else None
        self.trace: Callable[[Node, Frame, int], None] | None = None
        self.profile: Profile | None = None
        self.account = Account(k)
        namespace.root.children["_GL_"].value = Mutex(0)
        if k.cmdline.has("acpi_rev_override"):
            namespace.root.children["_REV"].value = 5
        install_osi(self)

    # running

    def run_table(self, data: bytes, start: int, scope: Node | None = None) -> None:
        """Execute a definition block from ``start`` to its end below ``scope`` (default the root).

        AmlError when a method it calls fails: that ends the whole load.
        """
        if data[:4] == b"DSDT":
            self.width = 4 if data[8] < 2 else 8  # the DSDT's revision sets the integer width of all tables
        frame = Frame(data, start, len(data), scope or self.namespace.root, self.width)
        with FreshThread(self):
            while frame.pos < frame.end:
                self._run_on(frame)

    def _run_on(self, frame: Frame) -> None:
        try:
            self._table_block(frame, frame.end)
        except ParseError as problem:
            self._ignore(frame, problem)
        except RecursionError:
            self._ignore(frame, ParseError("AE_STACK_OVERFLOW"))
        except ReturnSignal:
            frame.pos = frame.end

    def _ignore(self, frame: Frame, problem: ParseError) -> None:
        """Go on where reading stopped: the blocks around are left, the scope of names is not."""
        self.unsettled = True
        frame.pos = max(problem.resume, frame.pos)
        self.k.printk("ACPI: Ignoring error and continuing table load")
        if problem.resume:
            self.k.printk(skipped_block(problem.opcode))
        if frame.conditions:
            frame.pos = frame.conditions.pop()
            error(self.k, "Skipping While/If block", {"": "psloop-419"})
            if frame.pos < frame.end and frame.data[frame.pos] == 0xA1:
                error(self.k, "Skipping Else block", {"": "psloop-421"})
                frame.pos += 1
                frame.pos = frame.package_end()

    def block(self, frame: Frame, end: int, scope: Node) -> None:
        """Execute terms up to ``end`` with names looked up from ``scope``."""
        outer, frame.scope = frame.scope, scope
        if frame.table_level:
            if not declare(self, frame, end, scope):
                self._table_block(frame, end)
        else:
            while frame.pos < end:
                value = self.term(frame)
                if value is not None:
                    frame.implicit = value
        frame.scope = outer

    def _table_block(self, frame: Frame, end: int) -> None:
        while frame.pos < end:
            start, scope = frame.pos, frame.scope
            try:
                self.term(frame)
            except (ParseError, MethodAborted):
                raise
            except AmlError as problem:
                if problem.status in NOT_SWALLOWED:
                    frame.conditions.clear()
                    raise ParseError(problem.status, offset=frame.pos) from None
                frame.scope = scope
                self.unsettled = True
                skip_term(self, frame, start)

    def term(self, frame: Frame) -> Any:
        """Execute one term and return its value; a byte that starts none is passed over."""
        while True:
            at = frame.pos
            if at >= frame.end:
                raise ParseError("AE_AML_NO_OPERAND", "the code ends where an operand is needed", offset=at)
            op = frame.data[at]
            self.opcodes += 1
            if op in NAME_START:
                return self._name_term(frame)
            frame.pos = at + 1
            if op == 0x5B:
                op = 0x5B00 | frame.byte()
            handler = HANDLERS.get(op)
            if handler is not None:
                if self.trace is not None:
                    self.trace(frame.method or frame.scope, frame, op)
                try:
                    return handler(self, frame)
                except OperandError as problem:
                    self._report_operands(problem, op)
                    raise

    def _report_operands(self, problem: OperandError, op: int) -> None:
        """Source: drivers/acpi/acpica/dswexec.c:acpi_ds_exec_end_op() @ v6.12"""
        if op in CREATE_FIELDS and not problem.reported:
            code = STATUS_CODES.get(problem.status, 0)
            error(self.k, f"(OpcodeName unavailable) bad operand(s), status 0x{code:X}", {"": "dsopcode-320"})
        elif op in EXECUTED and not problem.reported:
            text = f"{problem.status}, While resolving operands for [OpcodeName unavailable]"
            error(self.k, text, {"": "dswexec-431"})
        problem.reported = True

    def _name_term(self, frame: Frame) -> Any:
        node = self.node(frame)
        if node.kind is Kind.METHOD:
            return self.call(node, self.arguments(frame, node))
        return load_node(self, node)

    def arguments(self, frame: Frame, node: Node) -> list[Any]:
        """Read the arguments of a method call."""
        return [opcodes_reference.argument(self, frame) for _ in range(node.value.arguments)]

    def call(self, node: Node, args: list[Any]) -> Any:
        """Invoke a method; what it creates goes away again when it ends."""
        return call(self, node, args)

    def evaluate(self, scope: Node, name: str, default: Any = None, args: list[Any] | None = None) -> Any:
        """Value of ``name`` directly below ``scope``, a method called; ``default`` if it is absent or fails."""
        found = scope.children.get(name)
        if found is None:
            return default  # most of what the kernel asks devices for is not there
        node = resolve(found)
        if node is None:
            return default
        self.look_at(node)
        results = self.k.acpi.results if name in NAMES and not self.depth else None
        if results is not None and (restored := results.restored(self, node)) is not None:
            return restored
        asked = self.account.asked
        try:
            value = evaluate(self, node, args or [])
            if results is not None and self.account.asked == asked:
                results.keep(node, value)
        except AmlError:
            return default
        finally:
            if not self.depth:
                self.account.evaluated(self, name)
        return default if value is None else value

    def look_at(self, *nodes: Node) -> None:
        """Somebody looks at these objects: a table that waits to be needed is loaded now."""
        if self.deferred is not None:
            self.deferred.look_at(self.account, nodes)

    def sleep_us(self, microseconds: int) -> None:
        """Let time pass; the interpreter lock is given up for it.

        Source: drivers/acpi/acpica/exsystem.c:acpi_ex_system_do_sleep() @ v6.12
        """
        self.slept_us += microseconds
        self.changes += 1
        self.account.book("aml_sleep_us", microseconds)
        if self.wait_until is not None:
            self.wait_until(lambda: True)

    def loop(self) -> LoopGuard:
        """A guard for a loop that begins."""
        return LoopGuard(self)

    # names

    def find(self, scope: Node, prefix: str, segments: list[str]) -> Node | None:
        """The object a name string means in ``scope``."""
        node = scope
        if prefix.startswith("\\"):
            node = self.namespace.root
        else:
            for _ in prefix:
                node = node.parent or node
        found = resolve(self.namespace.lookup(node, segments, search=not prefix and len(segments) == 1))
        if found is not None and self.deferred is not None:
            self.look_at(found)
        return found

    def node(self, frame: Frame) -> Node:
        """Read a name that must exist."""
        prefix, segments = frame.name_path()
        node = self.find(frame.scope, prefix, segments)
        if node is None:
            name = prefix + ".".join(segments)
            self.namespace_error(frame.scope, name, "AE_NOT_FOUND", {"": "psargs-332"})
            raise ParseError("AE_NOT_FOUND", name, offset=frame.pos)
        return node

    def namespace_error(self, scope: Node, name: str, status: str, modules: dict[str, str]) -> None:
        """Log a name that cannot be found or made.

        Source: drivers/acpi/acpica/uterror.c:acpi_ut_prefixed_namespace_error() @ v6.12
        """
        what = {"AE_ALREADY_EXISTS": "Failure creating named object", "AE_NOT_FOUND": "Could not resolve symbol"}
        text = f"{what.get(status, 'Failure resolving symbol')} [{shown(scope.path, name)}], {status}"
        (bios_error if status in what else error)(self.k, text, modules)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("acpi_no_auto_serialize", read_by=Interpreter),
    setup_param("acpi_rev_override", read_by=Interpreter),
)
