"""Wrappers that hand on all their arguments, and those that may look at them on the way.

``wraps`` has a wrapper say that it takes what the wrapped function takes. That is true of one which
only calls it with ``*args, **kwargs``. Another may set an argument, take one away or put one before
the others, so two calls that mean the same for the wrapped function differ for it.
"""

import dis
import inspect
from types import CodeType
from typing import Any

from .bytecode import looks_around, steps_of, variables_in

_OF_CALLS = ("LOAD", "BUILD_MAP", "LOAD", "DICT_MERGE", "CALL_FUNCTION_EX")


def takes_anything(function: Any) -> bool:
    """Tell whether a function has ``*args`` and ``**kwargs``, and no defaults of its own."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    takes = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds
    return takes and all(parameter.default is parameter.empty for parameter in parameters)


def hands_on_unchanged(function: Any) -> bool:
    """Tell whether all wrappers around a function only call what they wrap with all they get."""
    while hasattr(function, "__wrapped__") and takes_anything(function):
        wrapped = getattr(function, "uncached", None)
        if wrapped is None:
            wrapped = function.__wrapped__
            if not _only_calls(function, wrapped):
                return False
        function = wrapped
    return True


def puts_before(function: Any) -> bool:
    """Tell whether a wrapper may put arguments before those that it gets."""
    while hasattr(function, "__wrapped__"):
        code = getattr(function, "__code__", None)
        if code is not None and any("LIST" in step.opname for step in steps_of(code)):
            return True
        function = function.__wrapped__
    return False


def _only_calls(wrapper: Any, wrapped: Any) -> bool:
    """Tell whether each use of a wrapper's arguments is a call ``wrapped(*args, **kwargs)``."""
    code = getattr(wrapper, "__code__", None)
    if not isinstance(code, CodeType) or code.co_argcount or code.co_kwonlyargcount:
        return False
    if looks_around(code):
        return False
    cells = zip(code.co_freevars, wrapper.__closure__ or (), strict=True)
    # One that was not set yet has no content.
    callees = {n for n, c in cells if getattr(c, "cell_contents", None) is wrapped}
    args, kwargs = code.co_varnames[:2]
    steps = steps_of(code)
    uses = [place for place, step in enumerate(steps) if {args, kwargs} & variables_in(step)]
    calls = [
        place
        for place in uses
        if steps[place].argval == args
        and _is_call(steps[place : place + 5], kwargs)
        and _callee(steps[place - 2 : place]) in callees
    ]
    return len(uses) == 2 * len(calls)


def _is_call(steps: list[dis.Instruction], kwargs: str) -> bool:
    names = tuple("LOAD" if s.opname.startswith("LOAD_FAST") else s.opname for s in steps)
    return names == _OF_CALLS and steps[2].argval == kwargs


def _callee(steps: list[dis.Instruction]) -> Any:
    """Name the variable that is called, where it is one of the closure's."""
    loads = [step for step in steps if step.opname != "PUSH_NULL"]
    return loads[0].argval if len(loads) == 1 and loads[0].opname == "LOAD_DEREF" else None
