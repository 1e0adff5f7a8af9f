"""The two ways of output: one JSON object for a program, or what people read."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from helpers import log
from helpers.best_effort import best_effort
from helpers.commands.options import Json, Log, one_of
from helpers.errors import MigrationError, Unexpected
from helpers.screen import Screen, silence

if TYPE_CHECKING:
    import pandas as pd

    from helpers.platforms.statements import Listing

ABORTED = 4

screen = Screen()
"""For people: what was asked for goes to standard output, whatever else is said to standard error."""

say = functools.partial(screen.print, markup=False, soft_wrap=True)
"""One line as it stands."""


def tell_cost(words: str) -> None:
    """Says what something costs, where somebody pays for it by the second."""
    if words:
        say(f"cost: {words}")


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        value: what `--json` prints.
        show: prints it for people.
        exit_code: of the command.
        then: what is left to do once the answer is out.
    """

    value: dict[str, Any]
    show: Callable[[], object]
    exit_code: int = 0
    then: Callable[[], object] | None = None


def output(command: Callable[..., Answer]) -> Callable[..., None]:
    """Gives a command the options `--json` and `--log`, prints its answer in the chosen form, and ends with its exit code.

    A command that must know of `--json` before it answers declares `as_json` itself.
    """
    signature = inspect.signature(command, eval_str=True)
    own = "as_json" in signature.parameters

    @functools.wraps(command)
    def printed(*, as_json: bool = False, log_form: str = log.QUIET, **options: Any) -> None:
        with _logged(command.__name__.replace("_", "-"), log_form, options.get("run")):
            answer = command(**options, **({"as_json": as_json} if own else {}))
            print_answer(answer, as_json)
            if answer.then:
                answer.then()
            raise typer.Exit(answer.exit_code)

    added = [] if own else [("as_json", False, Json)]
    signature = signature.replace(
        parameters=[
            *signature.parameters.values(),
            *(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
                for name, default, option in (*added, ("log_form", log.QUIET, Log))
            ),
        ]
    )
    printed.__signature__ = signature  # type: ignore[attr-defined]
    printed.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return printed


@contextmanager
def _logged(command: str, form: str, run: str | None) -> Iterator[None]:
    """Logs that a command begins, and how it ends."""
    one_of("--log", form, log.FORMS)
    log.configure(form)
    began = time.monotonic()
    ended: dict[str, Any] = {"exit_code": Unexpected.exit_code}
    with log.within(run=run):
        log.event("command-started", command=command)
        try:
            yield
        except typer.Exit as stop:
            ended = {"exit_code": stop.exit_code}
            raise
        except MigrationError as error:
            ended = {"exit_code": error.exit_code, "error": error.as_dict()}
            raise
        except (KeyboardInterrupt, typer.Abort):
            ended = {"exit_code": ABORTED}
            raise
        finally:
            level = logging.INFO if ended["exit_code"] in (0, 3) else logging.ERROR
            seconds = round(time.monotonic() - began, 3)
            log.event("command-ended", level=level, command=command, **ended, seconds=seconds)


def print_answer(answer: Answer, as_json: bool) -> None:
    """Prints what was found; whatever hinders that, the exit code says it too."""
    with best_effort("the result could not be shown"):
        if as_json:
            print_json(answer.value)
        else:
            with screen.answer():
                answer.show()


def print_json(value: dict[str, Any]) -> None:
    """Prints one line; characters that standard output cannot encode are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        silence(sys.stdout)


def planned(
    title: str, headings: tuple[str, ...], rows: Sequence[tuple[Any, ...]], *, shown: tuple[str, ...] = (),
    listing: Listing | None = None,
) -> Answer:  # fmt: skip
    """What a command would do, a row a thing; people read the headings `shown` where they are given.

    Args:
        listing: the statements by which it would, where they were asked for.
    """
    value: dict[str, Any] = {"plan": [dict(zip(headings, row, strict=True)) for row in rows]}
    if listing is not None:
        value["statements"] = [
            {"system": each.system, "sql": each.sql, "values": list(each.values), "reads": each.reads}
            for each in listing.found
        ]

    def show() -> None:
        screen.table(title, *(shown or headings), rows=rows)
        for each in listing.found if listing else ():
            print(each)  # noqa: T201 - SQL for a reviewer or a file, not wrapped to a screen's width

    return Answer(value, show)


def show_left_out(left_out: Mapping[str, str], said: str = "left out") -> None:
    """Prints what of the source does not move, and why."""
    from helpers.source import left_out as leaving

    for line in leaving.lines(left_out, said):
        say(line)


def show_frame(title: str, frame: pd.DataFrame) -> None:
    """Prints a data frame as a table."""
    flat = frame.reset_index()
    screen.table(title, *map(str, flat.columns), rows=[tuple(row) for row in flat.itertuples(index=False)])
