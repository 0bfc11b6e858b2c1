"""An extension of griffe for the API reference: the parameters that octavo's functions have at run time.

A function decorated by `takes_attention_keywords(*excluded)` takes one dictionary in its source and has the parameters
of `octavo.attention` without the excluded ones; octavo.reference.attention has all of them.
"""

import ast
from typing import Any

import griffe

DECORATOR = "takes_attention_keywords"


def excluded(function: griffe.Function) -> list[str] | None:
    """What the decorator excludes; None without it."""
    for decorator in function.decorators:
        call = ast.parse(str(decorator.value), mode="eval").body
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == DECORATOR:
            return [ast.literal_eval(argument) for argument in call.args]
    return None


def required_v(parameter: griffe.Parameter) -> griffe.Parameter:
    """Only octavo.attention may be called without v, over a KVCache."""
    if parameter.name != "v":
        return parameter
    return griffe.Parameter("v", annotation=parameter.annotation, kind=parameter.kind)


class Signatures(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        if pkg.path != "octavo":
            return
        attention = pkg["_attention"]["attention"]
        named = [p for p in attention.parameters if p.kind is not griffe.ParameterKind.var_keyword]
        attention.parameters = griffe.Parameters(*named)
        pkg["reference"]["attention"].parameters = griffe.Parameters(*named)
        changed = 0
        for module in pkg.modules.values():
            for function in module.functions.values():
                if not function.is_alias and (without := excluded(function)) is not None:
                    kept = (p for p in named if p.name not in without)
                    function.parameters = griffe.Parameters(*map(required_v, kept))
                    changed += 1
        assert changed >= 3, f"{DECORATOR}: {changed} functions"
