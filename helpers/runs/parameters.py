"""A notebook's parameters: what its `parameters` cell declares, and what is given for one run.

The declared type decides how a text is read, not the look of the text. YAML alone would make a number of the
commit `12e4567`, of `2024_01_01` and of the account `0123`; here they stay text wherever text is declared:

    sha: str = ""                   sha=12e4567       → "12e4567"
    tables: list[str] = ["*"]       tables=[a, 0123]  → ["a", "0123"]
    apply: bool = True              apply=false       → False;  apply=no → refused
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import yaml  # type: ignore[import-untyped]

from helpers.errors import UsageError
from helpers.ledger.credentials import named_like_a_secret, secret_in

TAG = "parameters"

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "True": True, "false": False, "False": False}
_NOTHING = {"", "~", "null", "None"}


@dataclass(frozen=True)
class Type:
    """A declared type: `str`, `int`, `float`, `bool`, `None`, `any`, `literal`, `list`, `dict` or `union`.

    `of` holds the types inside a list, a dict (of its values) or a union; `values` a literal's values.
    """

    kind: str
    of: tuple[Type, ...] = ()
    values: tuple[object, ...] = ()

    def __str__(self) -> str:
        match self.kind:
            case "list":
                return f"list[{self.of[0]}]"
            case "dict":
                return f"dict[str, {self.of[0]}]"
            case "union":
                return " | ".join(str(each) for each in self.of)
            case "literal":
                return f"one of {', '.join(repr(value) for value in self.values)}"
            case kind:
                return kind


@dataclass(frozen=True)
class Parameter:
    """One line of the `parameters` cell."""

    name: str
    type: Type
    default: object


def resolve(notebook: Path, given: Mapping[str, object]) -> dict[str, object]:
    """Checks what is given for a run against what the notebook declares.

    Args:
        notebook: the runbook.
        given: values, or texts still to be read (`from_arguments`, `from_file`), by parameter name.

    Returns:
        The given parameters, each of its declared type. What was not given is left to the notebook's default.

    Raises:
        UsageError: a name is unknown, a value is of another type, or either looks like a secret.
    """
    known = {parameter.name: parameter for parameter in declared(notebook)}
    found: dict[str, object] = {}
    for name, value in given.items():
        _refuse_secrets(name, value)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            _refuse(
                f"{notebook.name} has no parameter of this name",
                on=f"parameter {name}",
                next_step=f"did you mean {near[0]}?" if near else f"it has: {', '.join(known) or 'none'}",
            )
        found[name] = _as_declared(value, known[name].type, f"parameter {name}")
    return found


def declared(notebook: Path) -> tuple[Parameter, ...]:
    """Reads the `parameters` cell of a notebook.

    Raises:
        UsageError: the notebook cannot be read, or the cell holds more than names, types and literal defaults.
    """
    try:
        nb = nbformat.read(notebook, as_version=4)
    except Exception as error:  # a file that is no notebook fails in nbformat in many ways
        raise UsageError(
            "read the runbook",
            on=str(notebook),
            why=f"{type(error).__name__}: {error}",
            next_step="check the path; restore the notebook from git if it is damaged",
        ) from error
    cells = [cell.source for cell in nb.cells if TAG in cell.metadata.get("tags", [])]
    return declared_in(cells[0], where=notebook.name) if cells else ()


def declared_in(source: str, *, where: str) -> tuple[Parameter, ...]:
    """Reads the source of a `parameters` cell; see `declared`."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        _refuse(f"its parameters cell is not Python: {error.msg}", on=where, next_step="correct the cell")
    return tuple(_parameter(node, where) for node in statements if not _is_docstring(node))


def from_arguments(arguments: Iterable[str]) -> dict[str, object]:
    """Takes `name=value` apart; the value stays a text until its type is known.

    Raises:
        UsageError: there is no `=`, no name, or one name twice.
    """
    given: dict[str, object] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name.isidentifier():
            # Not the argument itself: a mistyped one may be a password.
            _refuse("it is not of the form name=value", on="a parameter", next_step="write -p tables='[sales.*]'")
        if name in given:
            _refuse("it is given twice", on=f"parameter {name}", next_step="give it once")
        given[name] = Text(text)
    return given


def from_file(path: Path) -> dict[str, object]:
    """Reads a YAML file of parameters; scalars stay texts until their type is known.

    Raises:
        UsageError: the file cannot be read, or is not one plain mapping of names to values.
    """
    try:
        node = _compose(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        _refuse(f"{type(error).__name__}", on=str(path), next_step="check the path")
    except _NotPlain as error:
        _refuse(str(error), on=str(path), next_step="write plain YAML: one `name: value` a line")
    if node is None:
        return {}
    if not isinstance(node, dict):
        _refuse("it is not a mapping", on=str(path), next_step="write plain YAML: one `name: value` a line")
    return node


@dataclass(frozen=True)
class Text:
    """A scalar that somebody wrote, before its type is known; `quoted` says that it is text whatever it looks like.

    `whole` marks one straight from the command line, which may be a list or a mapping in YAML's flow form.
    """

    text: str
    quoted: bool = False
    whole: bool = True


class _NotPlain(Exception):  # noqa: N818 - carries a reason, not an error of its own
    pass


class _Mismatch(Exception):  # noqa: N818
    pass


def _parameter(node: ast.stmt, where: str) -> Parameter:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            type_: Type | None = _type(annotation, f"{where}, parameter {name}")
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            type_ = None
        case _:
            _refuse(
                f"line {node.lineno} of its parameters cell is not `name: type = default`",
                on=where,
                next_step="move everything else to the setup cell",
            )
    try:
        default: object = ast.literal_eval(value)
    except ValueError:
        _refuse("its default is not a literal", on=f"{where}, parameter {name}", next_step="write a literal default")
    type_ = type_ or _type_of(default)
    return Parameter(name, type_, _as_declared(default, type_, f"{where}, parameter {name}"))


def _type(node: ast.expr, on: str) -> Type:
    match node:
        case ast.Name(id="str" | "int" | "float" | "bool" as kind):
            return Type(kind)
        case ast.Constant(value=None):
            return Type("None")
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, on)
        case ast.Name(id="list"):
            return Type("list", (Type("any"),))
        case ast.Name(id="dict"):
            return Type("dict", (Type("any"),))
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return Type("list", (_type(inner, on),))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), inner])):
            return Type("dict", (_type(inner, on),))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return Type("literal", values=_literals(inner))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Type("union", (_type(left, on), _type(right, on)))
        case _:
            _refuse(
                f"its type {ast.unparse(node)} is none a parameter can have",
                on=on,
                next_step="use str, int, float, bool, list[…], dict[str, …], Literal[…] or … | None",
            )


def _literals(node: ast.expr) -> tuple[object, ...]:
    value = ast.literal_eval(node)
    return value if isinstance(value, tuple) else (value,)


def _type_of(default: object) -> Type:
    match default:
        case bool() | int() | float() | str():
            return Type(type(default).__name__)
        case [first, *rest] if isinstance(default, list) and all(type(each) is type(first) for each in rest):
            return Type("list", (_type_of(first),))
        case list():
            return Type("list", (Type("any"),))
        case dict():
            return Type("dict", (Type("any"),))
        case _:
            return Type("any")


def _as_declared(value: object, type_: Type, on: str) -> object:
    try:
        return _convert(value, type_)
    except _NotPlain as error:
        _refuse(str(error), on=on, next_step=f"expected {type_}; quote what YAML reads as more than text")
    except _Mismatch as error:
        _refuse(f"expected {type_}, found {error}", on=on, next_step=f"give a value of type {type_}")


def _convert(value: object, type_: Type) -> object:
    if isinstance(value, Text) and value.whole:
        value = _from_command_line(value, type_)
    match type_.kind:
        case "any":
            return _guess(value)
        case "union":
            return _first_that_fits(value, type_)
        case "literal":
            for each in type_.values:
                if _fits(value, _type_of(each)) and _convert(value, _type_of(each)) == each:
                    return each
            raise _Mismatch(_described(value))
        case "list":
            if not isinstance(value, list):
                raise _Mismatch(_described(value))
            return [_convert(each, type_.of[0]) for each in value]
        case "dict":
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise _Mismatch(_described(value))
            return {key: _convert(each, type_.of[0]) for key, each in value.items()}
        case kind:
            return _scalar(value, kind)


def _from_command_line(value: Text, type_: Type) -> object:
    """Only what declares a list or a mapping is read as one: a str may begin with a bracket."""
    kinds = {each.kind for each in (type_.of if type_.kind == "union" else (type_,))}
    scalar = Text(value.text, whole=False)
    if "str" in kinds or not (kinds & {"list", "dict", "any"}):
        return scalar
    node = _compose(value.text)
    return scalar if node is None else node


def _first_that_fits(value: object, type_: Type) -> object:
    # `null` before text, so that `str | None` can be given back its None; text last, because everything is text.
    for each in sorted(type_.of, key=lambda inner: {"None": 0, "str": 2}.get(inner.kind, 1)):
        if each.kind == "None" and isinstance(value, Text) and value.text == "":
            continue
        if _fits(value, each):
            return _convert(value, each)
    raise _Mismatch(_described(value))


def _fits(value: object, type_: Type) -> bool:
    try:
        _convert(value, type_)
    except (_Mismatch, _NotPlain):
        return False
    return True


def _scalar(value: object, kind: str) -> object:
    if isinstance(value, Text):
        return _read(value, kind)
    # bool is an int to Python, and to nobody else.
    exact = {"str": str, "int": int, "float": float, "bool": bool, "None": type(None)}[kind]
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not exact or (isinstance(value, float) and not math.isfinite(value)):
        raise _Mismatch(_described(value))
    return value


def _read(scalar: Text, kind: str) -> object:
    text = scalar.text
    if kind == "str":
        return text
    if not scalar.quoted:
        if kind == "None" and text in _NOTHING:
            return None
        if kind == "bool" and text in _TRUTH:
            return _TRUTH[text]
        if kind == "int" and _INTEGER.fullmatch(text) and len(text) < 64:
            return int(text)
        if kind == "float" and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
    raise _Mismatch(_described(scalar))


def _guess(value: object) -> object:
    """Without a declared type: null, true, false and plain integers are what they look like, the rest is text."""
    if isinstance(value, list):
        return [_guess(each) for each in value]
    if isinstance(value, dict):
        return {key: _guess(each) for key, each in value.items()}
    if not isinstance(value, Text):
        return value
    for kind in ("None", "bool", "int", "str"):
        if _fits(value, Type(kind)) and not (kind == "int" and str(int(value.text)) != value.text):
            return _read(value, kind)
    return value.text


def _described(value: object) -> str:
    match value:
        case Text(text=text, quoted=quoted):
            return f"the {'quoted ' if quoted else ''}text {text[:60]!r}"
        case None:
            return "None"
        case _:
            return f"{type(value).__name__} {str(value)[:60]}"


def _compose(text: str) -> object:
    """YAML's structure without its guesses about scalars."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise _NotPlain("a YAML alias (`*name`); quote a leading asterisk")
            if getattr(event, "tag", None) is not None:
                raise _NotPlain("a YAML tag (`!name`)")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        # The error's own text quotes the document, which may hold what must not be shown.
        mark = getattr(error, "problem_mark", None)
        raise _NotPlain(f"not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    return None if root is None else _node(root)


def _node(node: Any) -> object:
    if isinstance(node, yaml.ScalarNode):
        return Text(node.value, quoted=node.style is not None, whole=False)
    if isinstance(node, yaml.SequenceNode):
        return [_node(each) for each in node.value]
    mapping: dict[str, object] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _NotPlain("a key that is not a name")
        if key.value in mapping:
            raise _NotPlain(f"the key {key.value} twice")
        mapping[key.value] = _node(value)
    return mapping


def _refuse_secrets(name: str, value: object) -> None:
    kind = "a secret, by its name" if named_like_a_secret(name) else None
    for text in _texts(value):
        kind = kind or secret_in(text)
    if kind:
        _refuse(
            f"it looks like {kind}; parameters are stored in the notebook in clear text",
            on=f"parameter {name}",
            next_step="name the connection or the environment variable that holds it, and set it in .env",
        )


def _texts(value: object) -> Iterable[str]:
    match value:
        case Text(text=text):
            yield text
        case str():
            yield value
        case list() | tuple():
            for each in value:
                yield from _texts(each)
        case dict():
            for key, each in value.items():
                yield f"{key}={each.text if isinstance(each, Text) else each}"
                yield from _texts(each)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _refuse(why: str, *, on: str, next_step: str) -> NoReturn:
    raise UsageError("take the parameters of a run", on=on, why=why, next_step=next_step)
