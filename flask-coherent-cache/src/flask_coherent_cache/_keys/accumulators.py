"""Variables of a closure that only collect: a list to which a function appends, and no more.

Such a variable does not enter the key: what the function returns cannot depend on it, while its
text would change with each call. This is read off the function's code, and whatever is not known
there counts as a use of the content.
"""

import dis
import functools
import itertools
from collections import Counter, deque
from types import CodeType
from typing import Any

#: What gets at a function's variables without their names.
LOOKS_AROUND = frozenset({"locals", "vars", "dir", "eval", "exec"})
LOOKS_AROUND |= {"_getframe", "currentframe", "stack"}
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
    if LOOKS_AROUND & {*code.co_names}:
        return {}
    steps = [s for s in dis.get_instructions(code) if s.opname not in ("NOP", "RESUME")]
    uses: dict[str, set[str]] = {}
    for place, step in enumerate(steps):
        # Some instructions load two variables.
        loaded = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        for name in {*code.co_freevars} & {*loaded} if step.opname != "LOAD_CONST" else ():
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
