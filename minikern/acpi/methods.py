"""Control methods: calling one, its serialisation and limits, and what is left behind when it ends.

Source: drivers/acpi/acpica/dsmethod.c, psparse.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minikern.acpi.loops import check_budget
from minikern.acpi.messages import error
from minikern.acpi.stream import Frame
from minikern.acpi.sync import Thread
from minikern.acpi.values import AmlError, MethodAborted, RefOf, Slot
from minikern.state.namespace import Node, shown

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MAX_REENTRANCY = 255  # of one method
Builtin = Callable[["Interpreter", list[Any]], Any]


class ReturnSignal(Exception):  # noqa: N818 - control flow, not an error
    """Return from the running method."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@dataclass(eq=False, slots=True)
class MethodCode:
    """A control method: where its body lies. ``builtin`` replaces the body for methods the kernel provides.

    ``running`` counts the calls that have not returned, ``level_before`` is the sync level to return to; ``holder`` is
    the thread that has a serialised one's mutex.
    """

    data: bytes
    start: int
    end: int
    arguments: int
    width: int
    serialized: bool = False
    level: int = 0
    ignore_level: bool = False
    builtin: Builtin | None = None
    owner: int = 0
    running: int = 0
    level_before: int = 0
    serialize_next: bool = False
    holder: Thread | None = None


def call(run: Interpreter, node: Node, args: list[Any]) -> Any:
    """Invoke a method; what it creates goes away again when it ends. MethodAborted when it fails."""
    code: MethodCode = node.value
    if code.builtin is not None:
        return code.builtin(run, args)
    _begin(run, node, code)
    frame = Frame(code.data, code.start, code.end, node, code.width, args, method=node)
    run.depth += 1
    if run.profile is not None:
        run.profile.enter(run, node)
    try:
        return _execute(run, node, code, frame)
    finally:
        run.depth -= 1
        if run.profile is not None:
            run.profile.leave(run)
        _end(run, code)
        _remove(frame)
        frame.forget()


def _execute(run: Interpreter, node: Node, code: MethodCode, frame: Frame) -> Any:
    try:
        run.block(frame, code.end, node)
        return frame.implicit if run.slack else None
    except ReturnSignal as signal:
        return _returned(signal.value, frame)
    except AmlError as problem:
        if problem.status == "AE_ALREADY_EXISTS" and not code.serialized:
            code.serialize_next = True
        where = shown(node.path)
        error(run.k, f"Aborting method {where} due to previous error ({problem.status})", {"": "psparse-529"})
        raise _aborted(problem, where, frame) from None


def _aborted(problem: AmlError, where: str, frame: Frame) -> MethodAborted:
    if isinstance(problem, MethodAborted):
        return problem
    made = MethodAborted(problem.status, str(problem), problem.opcode, frame.pos)
    made.method = where
    return made


def _returned(value: Any, frame: Frame) -> Any:
    # A reference to a local or argument does not outlive the method.
    if isinstance(value, RefOf) and isinstance(value.target, Slot):
        return None if value.target.values in (frame.locals, frame.args) else value
    return value


def _begin(run: Interpreter, node: Node, code: MethodCode) -> None:
    """Source: drivers/acpi/acpica/dsmethod.c:acpi_ds_begin_method_execution() @ v6.12"""
    run.calls += 1
    check_budget(run)
    if code.running >= MAX_REENTRANCY:
        error(run.k, f"Method reached maximum reentrancy limit ({MAX_REENTRANCY})", {"": "dsmethod-318"})
        raise AmlError("AE_AML_METHOD_LIMIT", f"{node.path} calls itself too often")
    if code.serialized:
        _take_mutex(run, node, code)
    code.running += 1


def _take_mutex(run: Interpreter, node: Node, code: MethodCode) -> None:
    thread = run.thread
    if not code.ignore_level and thread.level > code.level:
        text = f"Cannot acquire Mutex for method [{node.name}], current SyncLevel is too large ({thread.level})"
        error(run.k, text, {"": "dsmethod-344"})
        raise AmlError("AE_AML_MUTEX_ORDER", text)
    if code.running and code.holder is not thread and run.wait_until is not None:
        run.wait_until(lambda: not code.running)
    if code.running == 0:
        code.holder, code.level_before = thread, thread.level
        if not code.ignore_level:
            thread.level = code.level


def _end(run: Interpreter, code: MethodCode) -> None:
    """Source: drivers/acpi/acpica/dsmethod.c:acpi_ds_terminate_control_method() @ v6.12"""
    code.running -= 1
    if code.running:
        return
    if code.serialized:
        run.thread.level = code.level_before
    if code.serialize_next:
        code.serialize_next, code.serialized, code.ignore_level, code.level = False, True, True, 0
        error_free = "because of AE_ALREADY_EXISTS error"
        run.k.printk(f"ACPI: Marking method {code_name(run, code)} as Serialized {error_free}")


def code_name(run: Interpreter, code: MethodCode) -> str:
    """The name of the method whose code this is."""
    return next((node.name for node in run.namespace.walk() if node.value is code), "")


def _remove(frame: Frame) -> None:
    for made in frame.created or ():
        if made.parent is not None and made.parent.children.get(made.name) is made:
            del made.parent.children[made.name]
