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
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, NoReturn, Union

import nbformat
import yaml  # type: ignore[import-untyped]
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from helpers.credentials import named_like_a_secret, secret_in
from helpers.errors import UsageError

TAG = "parameters"

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "True": True, "false": False, "False": False}
_NOTHING = {"", "~", "null", "None"}


@dataclass(frozen=True)
class Type:
    """A declared type.

    Attributes:
        name: as people read it.
        reads: the type as pydantic takes it; its validators read a `Text`, and what is no text must be exactly of the type.
        in_flow: whether a text of the command line may be a list or a mapping in YAML's flow form. Only what declares one is
            read as one: a str may begin with a bracket.
    """

    name: str
    reads: Any
    in_flow: bool = False

    def __str__(self) -> str:
        return self.name

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Reads a value of the type; made once, since that takes a millisecond."""
        return TypeAdapter(self.reads, config=ConfigDict(strict=True, allow_inf_nan=False))


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
            return _SCALARS[kind]
        case ast.Constant(value=None):
            return _SCALARS["None"]
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, on)
        case ast.Name(id="list"):
            return _list_of(_ANY)
        case ast.Name(id="dict"):
            return _dict_of(_ANY)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return _list_of(_type(inner, on))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), inner])):
            return _dict_of(_type(inner, on))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return _one_of(_literals(inner))
        case ast.BinOp(op=ast.BitOr()):
            return _first_of([_type(each, on) for each in _alternatives(node)])
        case _:
            _refuse(
                f"a parameter cannot have the type {ast.unparse(node)}",
                on=on,
                next_step="use str, int, float, bool, list[…], dict[str, …], Literal[…] or … | None",
            )


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _literals(node: ast.expr) -> tuple[object, ...]:
    value = ast.literal_eval(node)
    return value if isinstance(value, tuple) else (value,)


def _type_of(default: object) -> Type:
    match default:
        case bool() | int() | float() | str():
            return _SCALARS[type(default).__name__]
        case [first, *rest] if isinstance(default, list) and all(type(each) is type(first) for each in rest):
            return _list_of(_type_of(first))
        case list():
            return _list_of(_ANY)
        case dict():
            return _dict_of(_ANY)
        case _:
            return _ANY


def _as_declared(value: object, type_: Type, on: str) -> object:
    try:
        if isinstance(value, Text) and value.whole:
            composed = _compose(value.text) if type_.in_flow else None
            value = Text(value.text, whole=False) if composed is None else composed
        return type_.adapter.validate_python(value)
    except _NotPlain as error:
        _refuse(str(error), on=on, next_step=f"expected {type_}; quote it if YAML reads it as something else than text")
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        culprit = found[0]["input"] if len(found) == 1 else value
        _refuse(f"expected {type_}, found {_described(culprit)}", on=on, next_step=f"give a value of type {type_}")


def _read(text: Text, kind: str) -> object:
    """What a text says as a value of the kind; `ValueError` where it says none."""
    if kind == "str":
        return text.text
    if not text.quoted:
        if kind == "None" and text.text in _NOTHING:
            return None
        if kind == "bool" and text.text in _TRUTH:
            return _TRUTH[text.text]
        if kind == "int" and _INTEGER.fullmatch(text.text) and len(text.text) < 64:
            return int(text.text)
        if kind == "float" and _NUMBER.fullmatch(text.text):
            return float(text.text)
    raise ValueError


def _scalar(kind: str, python: Any) -> Type:
    # pydantic's own reading of texts would take "yes", "2024_01_01" and "inf".
    reading = BeforeValidator(lambda value: _read(value, kind) if isinstance(value, Text) else value)
    return Type(kind, Annotated[python, reading])


def _list_of(inner: Type) -> Type:
    return Type(f"list[{inner}]", GenericAlias(list, inner.reads), in_flow=True)


def _dict_of(inner: Type) -> Type:
    return Type(f"dict[str, {inner}]", GenericAlias(dict, (str, inner.reads)), in_flow=True)


def _one_of(values: tuple[object, ...]) -> Type:
    def read(value: object) -> object:
        for each in values:
            with suppress(ValueError):
                kind = "None" if each is None else type(each).__name__
                found = _read(value, kind) if isinstance(value, Text) else value
                if found == each and type(found) is type(each):  # to Python, True is 1
                    return found
        raise ValueError

    name = f"one of {', '.join(repr(value) for value in values)}"
    literal: Any = Literal.__getitem__(values)
    return Type(name, Annotated[literal, BeforeValidator(read)])


def _first_of(types: list[Type]) -> Type:
    # `null` before text, so that `str | None` can be given back its None; text last, because everything is text.
    ordered = sorted(types, key=lambda each: {"None": 0, "str": 2}.get(each.name, 1))
    union: Any = Union.__getitem__(tuple(_NOT_EMPTY if each.name == "None" else each.reads for each in ordered))
    in_flow = any(each.in_flow for each in types) and ordered[-1].name != "str"
    return Type(" | ".join(map(str, types)), Annotated[union, Field(union_mode="left_to_right")], in_flow)


def _written_null(value: object) -> object:
    if isinstance(value, Text) and value.text == "":
        raise ValueError
    return value


def _guess(value: object) -> object:
    """Without a declared type: null, true, false and plain integers are what they look like, the rest is text."""
    if isinstance(value, list):
        return [_guess(each) for each in value]
    if isinstance(value, dict):
        return {key: _guess(each) for key, each in value.items()}
    if not isinstance(value, Text):
        return value
    for kind in ("None", "bool", "int"):
        with suppress(ValueError):
            found = _read(value, kind)
            if kind != "int" or str(found) == value.text:
                return found
    return value.text


_SCALARS = {
    "str": _scalar("str", str), "int": _scalar("int", int), "float": _scalar("float", float), "bool": _scalar("bool", bool),
    "None": _scalar("None", type(None)),
}  # fmt: skip
_ANY = Type("any", Annotated[Any, BeforeValidator(_guess)], in_flow=True)
_NOT_EMPTY: Any = Annotated[_SCALARS["None"].reads, BeforeValidator(_written_null)]


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
