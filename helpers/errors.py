"""The one family of errors an operator meets."""

from __future__ import annotations

import errno
from typing import Any

from helpers.redaction import redact


class MigrationError(Exception):
    """Something could not be done; nothing was left half-done by it.

    Never raised itself: each subclass says what kind of thing went wrong. A retry decides by `transient`, a
    command by `exit_code`, and neither by reading text. The fields reach logs and notebooks, so known secrets are
    masked in them.

    Attributes:
        what: what was tried, as a clause ("start PostgreSQL").
        on: the thing it was tried on ("port 5432 of 127.0.0.1").
        why: why it failed.
        next_step: what the operator does next.
        transient: whether the same call may succeed when it is repeated.
        exit_code: what a command that meets this error exits with.
    """

    transient = False
    exit_code = 2

    def __init__(self, what: str, *, on: str, why: str, next_step: str) -> None:
        what, on, why, next_step = (redact(part.strip()) for part in (what, on, why, next_step))
        super().__init__(what, on, why, next_step)
        self.what = what
        self.on = on
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        return f"Could not {self.what} ({self.on}): {self.why} → {self.next_step}"

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of a command's `--json`."""
        return {
            "type": type(self).__name__,
            "what": self.what,
            "on": self.on,
            "why": self.why,
            "next": self.next_step,
            "transient": self.transient,
        }


class SettingsError(MigrationError):
    """A setting is missing or wrong."""


class UsageError(MigrationError):
    """A command or a helper was called with arguments that make no sense."""


class ConnectionFailed(MigrationError):  # noqa: N818 - reads as what happened
    """A server did not answer, or did not let us in."""

    transient = True


class SessionRefused(MigrationError):  # noqa: N818
    """A session did not keep a setting that its answers depend on, so nothing is read through it."""


class LocalStackError(MigrationError):
    """The embedded stack could not be started, stopped or reached."""


class SourceRefused(MigrationError):  # noqa: N818
    """The source holds something that cannot be moved without loss, or changed while it was read."""

    exit_code = 1


class SourceFailed(SourceRefused):
    """The source could not answer: a right is missing, a limit ended the query, or the server ran out of something."""

    exit_code = 2


class StageError(MigrationError):
    """The staged files or their manifest are not what they should be."""


class LoadError(MigrationError):
    """A target did not take the staged rows as they are."""


class TargetRefused(MigrationError):  # noqa: N818
    """The target holds something that is not ours to replace, or that a load could not preserve; nothing was changed."""

    exit_code = 1


class InfrastructureError(MigrationError):
    """Terraform could not validate, plan or apply; what it had made until then is in its state."""


class PipelineFailed(MigrationError):  # noqa: N818
    """A scheduled pipeline did not do its work."""

    exit_code = 1


class BackupError(MigrationError):
    """A dump could not be made, is not whole, or does not restore."""


class GateClosed(MigrationError):  # noqa: N818
    """A check that protects the next step said no."""

    exit_code = 1


class EvidenceError(MigrationError):
    """A run's records cannot be trusted, or cannot be written."""


class AwaitingPerson(MigrationError):  # noqa: N818
    """The next step needs a person's attestation or approval; run the same command again once it is there."""

    exit_code = 3


class SignatureRefused(MigrationError):  # noqa: N818
    """A signature would prove nothing: the wrong key, or a person who has already signed."""

    exit_code = 1


class EvidenceRefused(MigrationError):  # noqa: N818
    """A run cannot be sealed as it is."""

    exit_code = 1


class DiskRefused(MigrationError):  # noqa: N818
    """This machine's disk could not be read or written."""

    @classmethod
    def of(cls, error: OSError) -> DiskRefused:
        """Wraps what the system said."""
        return cls(
            "read or write a file",
            on=str(error.filename or "this machine's disk"),
            why=str(error.strerror or error),
            next_step="free space there, or grant access to it, then run the same command again: it resumes",
        )


_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


_MOST = 1000
"""Characters of a message that nobody foresaw: its reason may stand in the second line, a whole statement in the tenth."""


class Unexpected(MigrationError):  # noqa: N818
    """A fault of this program, reported like any other error."""

    @classmethod
    def of(cls, error: Exception) -> MigrationError:
        """Wraps what nobody foresaw; its traceback shows with RUNBOOK_DEBUG=1. What a disk refuses is no fault of ours."""
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return DiskRefused.of(error)
        said = redact(" ".join(str(error).split()))
        return cls(
            "finish",
            on="this command",
            why=f"{type(error).__name__}: {said[:_MOST]}",
            next_step="run it again with RUNBOOK_DEBUG=1 for the traceback, and report it",
        )
