"""Wrappers that hand on all their arguments, and those that may look at them on the way.

``wraps`` has a wrapper say that it takes what the wrapped function takes. That is true of one which
only calls it with ``*args, **kwargs``. Another may set an argument, take one away or put one before
the others, so two calls that mean the same for the wrapped function differ for it.
"""

import dis
import inspect
from types import CodeType
from typing import Any

from .accumulators import LOOKS_AROUND

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
        if code is not None and any("LIST" in each.opname for each in dis.get_instructions(code)):
            return True
        function = function.__wrapped__
    return False


def _only_calls(wrapper: Any, wrapped: Any) -> bool:
    code = getattr(wrapper, "__code__", None)
    if not isinstance(code, CodeType) or code.co_argcount or code.co_kwonlyargcount:
        return False
    if LOOKS_AROUND & {*code.co_names}:
        return False
    cells = zip(code.co_freevars, wrapper.__closure__ or (), strict=True)
    # One that was not set yet has no content.
    callees = {n for n, c in cells if getattr(c, "cell_contents", None) is wrapped}
    args, kwargs = code.co_varnames[:2]
    steps = [each for each in dis.get_instructions(code) if each.opname != "NOP"]
    uses = 0
    for place, step in enumerate(steps):
        loaded = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if step.opname == "LOAD_CONST" or not {args, kwargs} & {*map(str, loaded)}:
            continue
        uses += 1
        if step.argval == kwargs:
            continue  # It counts with the call that it is a part of.
        call = steps[place : place + 5]
        names = tuple("LOAD" if s.opname.startswith("LOAD_FAST") else s.opname for s in call)
        callee = [each for each in steps[place - 2 : place] if each.opname != "PUSH_NULL"]
        is_call = (
            step.argval == args
            and names == _OF_CALLS
            and call[2].argval == kwargs
            and len(callee) == 1
            and callee[0].opname == "LOAD_DEREF"
            and callee[0].argval in callees
        )
        if not is_call:
            return False
        uses -= 2  # This one, and that of the other, which is still to come.
    return uses == 0
