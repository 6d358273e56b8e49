"""What a function does with its variables, as its bytecode says.

A variable of a closure that only collects, such as a list to which the function appends and no
more, does not enter the key: what the function returns cannot depend on it, while its text would
change with each call. Whatever is not known here counts as a use of the content.
"""

import dis
import functools
import itertools
from collections import Counter, deque
from types import CodeType
from typing import Any

#: What gets at a function's variables without their names.
_LOOKS_AROUND = frozenset({"locals", "vars", "dir", "eval", "exec"})
_LOOKS_AROUND |= {"_getframe", "currentframe", "stack"}
#: By these a function may change what another function holds, as a list of its calls.
_CHANGES = frozenset({"append", "appendleft", "extend", "insert", "add", "update", "setdefault"})
_CHANGES |= {"pop", "popitem", "popleft", "remove", "discard", "clear", "sort", "reverse"}
_STORED, _COUNTED = "[] =", "[] +="
#: Uses that return nothing, and raise nothing that the content decides on.
_WRITES: dict[Any, frozenset[str]] = {
    list: frozenset({"append", "extend"}),
    deque: frozenset({"append", "appendleft", "extend"}),
    set: frozenset({"add", "update"}),
    dict: frozenset({_STORED}),
    Counter: frozenset({_STORED, _COUNTED}),
}
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
_LOADS = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF"})
_COUNTING = ("COPY", "COPY", "subscript", "LOAD_CONST", "+=", "SWAP", "SWAP", "STORE_SUBSCR")


def looks_around(code: CodeType) -> bool:
    """Tell whether a function may get at its variables without their names."""
    return not _LOOKS_AROUND.isdisjoint(code.co_names)


def steps_of(code: CodeType) -> list[dis.Instruction]:
    """Return the instructions of a function that do something."""
    return [step for step in dis.get_instructions(code) if step.opname not in ("NOP", "RESUME")]


def variables_in(step: dis.Instruction) -> set[Any]:
    """Name the variables that an instruction uses; some load two."""
    if step.opname == "LOAD_CONST":
        return set()
    return {*step.argval} if isinstance(step.argval, tuple) else {step.argval}


def used_parameters(code: CodeType | None, names: tuple[str, ...]) -> frozenset[str]:
    """Return the parameters that a function's own code may look at, by name or otherwise."""
    if code is None or code.co_varnames[: len(names)] != names or looks_around(code):
        return frozenset(names)  # A decorator's code hands them on.
    texts = [step.argrepr for step in dis.get_instructions(code)]
    return frozenset(name for name in names if any(name in text for text in texts))


@functools.lru_cache(1024)
def changes(code: CodeType) -> tuple[frozenset[str], bool]:
    """Name the attributes that a function sets, and tell whether it may change containers."""
    steps = steps_of(code)
    names = {step.argval for step in steps if step.opname in ("STORE_ATTR", "DELETE_ATTR")}
    of_items = any("SUBSCR" in s.opname and s.opname != "BINARY_SUBSCR" for s in steps)
    return frozenset(names), of_items or not _CHANGES.isdisjoint(code.co_names)


def only_collects(code: CodeType, name: str, value: Any) -> bool:
    """Tell whether a function only adds to what one of its variables holds."""
    writes = _WRITES.get(type(value))
    if writes is None or not _uses(code).get(name, frozenset({""})) <= writes:
        return False
    return type(value) is not Counter or all(type(n) is int for n in [*value.values()])


def may_only_collect(code: CodeType) -> bool:
    """Tell whether a function only adds to all its variables, where they are of types for that."""
    uses = _uses(code)
    return all("" not in uses.get(name, {""}) for name in code.co_freevars)


@functools.lru_cache(1024)
def _uses(code: CodeType) -> dict[str, frozenset[str]]:
    """Tell how a function uses its free variables; "" is a use that is not known."""
    if looks_around(code):
        return {}
    steps = steps_of(code)
    uses: dict[str, set[str]] = {}
    for place, step in enumerate(steps):
        for name in variables_in(step) & {*code.co_freevars}:
            use = _use(steps[place + 1 :]) if step.opname == "LOAD_DEREF" else ""
            uses.setdefault(name, set()).add(use)
    return {name: frozenset(each) for name, each in uses.items()}


def _use(steps: list[dis.Instruction]) -> str:
    """Tell what becomes of a variable that was put on the stack."""
    if steps[0].opname in ("LOAD_METHOD", "LOAD_ATTR"):
        return _method_called(steps)
    if steps[0].opname not in _LOADS or any(step.is_jump_target for step in steps[:9]):
        return ""
    if steps[1].opname == "STORE_SUBSCR":
        return _STORED
    if tuple(map(_named, steps[1:9])) == _COUNTING and type(steps[4].argval) is int:
        return _COUNTED
    return ""


def _named(step: dis.Instruction) -> str:
    """Name an instruction alike in all versions of Python."""
    if step.opname == "BINARY_OP":
        return "subscript" if step.argrepr == "[]" else step.argrepr
    names = {"BINARY_SUBSCR": "subscript", "LOAD_SMALL_INT": "LOAD_CONST"}
    return names.get(step.opname, step.opname)


def _method_called(steps: list[dis.Instruction]) -> str:
    """Name the method that is called, where nobody gets what it returns."""
    depth = 1
    for step, following in itertools.pairwise(steps):
        if step.opcode in _JUMPS or following.is_jump_target:
            return ""
        depth += dis.stack_effect(step.opcode, step.arg)
        if depth <= 1:
            is_dropped = step.opname == "CALL" and following.opname == "POP_TOP"
            return str(steps[0].argval) if is_dropped else ""
    return ""
