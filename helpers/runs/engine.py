"""The papermill engine of unattended runs, which tells the truth about cells that never ran.

papermill's own engine marks every cell behind a time-out or a dead kernel as completed, writes the notebook in
place, and looks for a kernel among those registered on the machine. This one differs in four things:

- a cell's `metadata.papermill.status` is `pending` until it runs, `running` while it does, then `completed` or
  `failed`; nothing tidies it up afterwards;
- the file is replaced as a whole after every cell, so that a killed run leaves a readable notebook;
- the kernel is the interpreter that runs the command, reached over sockets in a private folder (no TCP port that
  another run may take), and it ends with the command;
- a failing cell fails the run: `raises-exception`, `skip-execution` and `sys.exit(0)` change nothing.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from helpers import PROJECT, log
from helpers.ledger.folders import write_atomically
from helpers.platforms.scratch_folder import scratch_folder
from helpers.redaction import redact, redact_values
from helpers.runs.cell_progress import Report, Silence, title_of
from helpers.runs.kernel import ERROR_MIME
from helpers.runs.supervisor import Stopped, Supervisor

ENGINE = "runbook"
METADATA = "runbook"
"""Key of the notebook's metadata under which a run's own result is kept."""

_LONGEST_SOCKET_PATH = 90


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not reach its end.

    `exit_code` is the command's: that of a MigrationError, 2 for any other error of a cell, 4 when the run was
    stopped or its kernel died. `transient` is the MigrationError's: the same run may succeed when it is repeated.
    """

    cell: str | None
    error: str
    message: str
    exit_code: int
    transient: bool = False


class RunbookEngine(NBClientEngine):  # type: ignore[misc]
    """Registered with papermill as `runbook`."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: object = False,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        report: Report | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs `nb` and leaves its result, `done` or a Failure, in its metadata.

        Returns:
            The notebook, also when a cell failed, was stopped, or the kernel did not start.
        """
        state = _State(nb, Path(output_path) if output_path else None, autosave_cell_every, report or Silence())
        state.notebook_start()
        try:
            cls.execute_managed_notebook(state, kernel_name, log_output=log_output, **kwargs)
        finally:
            state.notebook_complete()
        return state.nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: _State,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: float = 60,
        execution_timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        supervisor: Supervisor | None = None,
        **kwargs: Any,
    ) -> None:
        """Runs the cells in a kernel of its own; see `execute_notebook`."""
        supervisor = supervisor or Supervisor(cell_timeout=execution_timeout)
        with scratch_folder("kernel") as private, supervisor.on_duty():
            client = _Client(
                nb_man,
                km=_kernel_manager(private),
                supervisor=supervisor,
                timeout=None,
                startup_timeout=start_timeout,
                log_output=log_output,
                stdout_file=stdout_file,
                stderr_file=stderr_file,
            )
            client.run(env=_environment(os.environ if env is None else env), cwd=cwd, output=private / "kernel.log")

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """`python3`, whatever the notebook was last opened with: there is one interpreter, the command's."""
        return "python3"

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        return "python"


class _State(NotebookExecutionManager):  # type: ignore[misc]
    """What papermill calls the execution manager: the notebook's metadata and its file."""

    def __init__(self, nb: Any, path: Path | None, autosave: int, report: Report) -> None:
        super().__init__(nb, str(path) if path else None, progress_bar=False, autosave_cell_every=autosave)
        self.path = path
        self.report = report
        self.failure: Failure | None = None

    def notebook_start(self, **kwargs: Any) -> None:
        self.nb.metadata.setdefault("papermill", nbformat.NotebookNode())
        self.nb.metadata.setdefault(METADATA, nbformat.NotebookNode()).update(status="running", failure=None)
        self.report.begin(len(self.nb.cells))
        super().notebook_start(**kwargs)

    def save(self, **kwargs: Any) -> None:
        if self.path:
            write_atomically(self.path, nbformat.writes(redact_values(self.nb)))
        self.last_save_time = self.now()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        super().cell_start(cell, cell_index, **kwargs)
        self.report.cell_begins(cell_index or 0, cell.get("id", ""), title_of(self.nb.cells, cell_index or 0))

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        super().cell_complete(cell, cell_index, **kwargs)
        marks = cell.metadata.papermill
        counts = cell.cell_type == "code" and bool(cell.source.strip())
        self.report.cell_ends(cell_index or 0, cell.get("id", ""), marks["status"], marks["duration"], code=counts)

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.nb.metadata.papermill["exception"] = True

    def notebook_complete(self, **kwargs: Any) -> None:
        # Not the inherited one: it calls what never ran completed.
        self.end_time = self.now()
        marks = self.nb.metadata.papermill
        marks["end_time"] = self.end_time.isoformat()
        marks["duration"] = (self.end_time - self.start_time).total_seconds()
        self.nb.metadata[METADATA].update(
            status="failed" if self.failure else "done",
            failure=asdict(self.failure) if self.failure else None,
        )
        self.save()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    def __init__(self, state: _State, *, supervisor: Supervisor, **kwargs: Any) -> None:
        super().__init__(state, **kwargs)
        self.supervisor = supervisor
        self.force_raise_errors = True
        self.skip_cells_with_tag = ""

    def run(self, *, env: dict[str, str], cwd: str | None, output: Path) -> None:
        self.reset_execution_trackers()
        shared, descriptors = log.shared_with_kernel()
        with output.open("wb") as file:
            # Not the command's own output: `--json` promises one object there and nothing else.
            self.start_new_kernel(env=env | shared, cwd=cwd, stdout=file, stderr=file, pass_fds=descriptors)
        with self.supervisor.in_charge_of(self.km.provisioner.pid):
            try:
                self.start_new_kernel_client()
            except RuntimeError as error:
                self.nb_man.fail(self._not_started(error, output))
                return
            try:
                self._run_cells(output)
            finally:
                self._cleanup_kernel()

    def _run_cells(self, log: Path) -> None:
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            try:
                self.supervisor.raise_if_stopped()
                with self.supervisor.watching_cell():
                    self.execute_cell(cell, index)
                self.supervisor.raise_if_stopped()
            except (CellExecutionError, DeadKernelError, Stopped) as error:
                self.nb_man.cell_exception(self.nb.cells[index], index)
                self.nb_man.fail(self._failure(self.nb.cells[index], error, log))
                return
            except BaseException:
                self.nb_man.cell_exception(self.nb.cells[index], index)
                raise
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], index)
        self.nb.metadata["language_info"] = {"name": "python", "version": platform.python_version()}
        self.set_widgets_metadata()

    def _failure(self, cell: Any, error: Exception, log: Path) -> Failure:
        name = cell.get("id")
        if self.supervisor.reason:
            return Failure(name, "Stopped", self.supervisor.reason, 4)
        if isinstance(error, DeadKernelError):
            return Failure(name, "DeadKernel", f"the kernel died{_last_words(log)}", 4)
        assert isinstance(error, CellExecutionError)
        return Failure(name, error.ename, error.evalue, *_told(cell, error.ename))

    def _not_started(self, error: RuntimeError, log: Path) -> Failure:
        if self.supervisor.reason:
            return Failure(None, "Stopped", self.supervisor.reason, 4)
        return Failure(None, "KernelNotStarted", f"{error}{_last_words(log)}", 2)


class _OwnInterpreter(KernelSpecManager):  # type: ignore[misc]
    """The interpreter of this process as the only kernel, whatever is registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> Any:
        return KernelSpec(
            argv=[sys.executable, "-m", "helpers.runs.kernel", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )


def _kernel_manager(private: Path) -> Any:
    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=_OwnInterpreter(),
        connection_file=str(private / "kernel.json"),
    )
    # A Unix socket's path has at most 107 characters; only an odd TMPDIR makes ours longer.
    if os.name == "posix" and len(str(private)) < _LONGEST_SOCKET_PATH:
        manager.transport = "ipc"
        manager.ip = str(private / "kernel")
    return manager


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    paths = [str(PROJECT), *filter(None, [given.get("PYTHONPATH")])]
    return {**given, "PYTHONPATH": os.pathsep.join(paths), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _told(cell: Any, error: str) -> tuple[int, bool]:
    """The exit code that the kernel told, and whether a repetition may succeed."""
    # Not by the name alone: IPython has a UsageError too, and anybody may have a GateClosed.
    for output in reversed(cell.get("outputs", [])):
        told = output.get("data", {}).get(ERROR_MIME)
        if told and told.get("type") == error and told.get("exit_code") in (1, 2, 3, 4):
            return int(told["exit_code"]), told.get("transient") is True
    return 2, False


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
    return f" ({redact(' / '.join(lines))[:500]})" if lines else ""


papermill_engines.register(ENGINE, RunbookEngine)
