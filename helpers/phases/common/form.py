"""A form in the notebook for a person's attestation: the same as `runbook attest`, without leaving the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets

from helpers import PROJECT, checklist, settings
from helpers.errors import MigrationError
from helpers.evidence import signing
from helpers.ledger.folders import refuse_sealed
from helpers.ledger.ledger import Ledger

OUTPUTS = PROJECT / "outputs"
_WIDE = widgets.Layout(width="40em")
_LABELLED = {"description_width": "7em"}


class AttestationForm(widgets.VBox):  # type: ignore[misc]
    """Signs a person's word on a step of a run, and says below the button what came of it.

    It offers the runs that can still be signed, the steps, and the people whom the profile names; of the private key it
    takes the path alone.

    Args:
        profile: whose people may sign; a run of another profile is refused when it is signed.
    """

    def __init__(self, names: Sequence[str], profile: str, outputs: Path = OUTPUTS) -> None:
        titles = {step.id: step.title for step in checklist.steps()}
        people = sorted(settings.load_approvals(profile).approvals.people)
        self._profile, self._outputs = profile, outputs
        self.run_name = widgets.Dropdown(options=_open_runs(outputs), description="Run")
        self.step = widgets.Dropdown(
            options=[(f"{name}: {titles.get(name, name)}", name) for name in names], description="Step"
        )
        self.by = widgets.Dropdown(options=people, description="Person")
        self.key = widgets.Text(placeholder="path of your private key", description="Key")
        self.note = widgets.Textarea(placeholder="what you say about it", description="Note")
        self.sign = widgets.Button(description="Sign", button_style="primary", icon="check")
        self.answer = widgets.HTML()
        fields = (self.run_name, self.step, self.by, self.key, self.note)
        for field in fields:
            field.layout, field.style = _WIDE, _LABELLED
        self.sign.on_click(lambda button: self._sign())
        lacking = [
            what
            for what, found in (("run that can be signed", self.run_name.options), ("person in migration.toml", people))
            if not found
        ]
        if lacking:
            self.sign.disabled = True
            self._say("✘", f"There is no {' and no '.join(lacking)} yet.")
        super().__init__((*fields, self.sign, self.answer))

    def _sign(self) -> None:
        self.sign.disabled = True  # two clicks are one signature
        try:
            signed = signing.attest(
                self._outputs / self.run_name.value,
                self.step.value,
                by=self.by.value,
                key=Path(self.key.value).expanduser(),
                note=self.note.value,
                profile=self._profile,
            )
            self._say("✔", f"{signed['by']} has signed {signed['step']} of the run {signed['run']}.")
        except MigrationError as error:
            self._say("✘", str(error))
        finally:
            self.sign.disabled = False

    def _say(self, mark: str, text: str) -> None:
        self.answer.value = f"{mark} {escape(text)}"


def _open_runs(outputs: Path) -> list[str]:
    """Names of the runs that have a ledger and no seal, the latest first."""
    found = []
    for folder in outputs.iterdir() if outputs.is_dir() else ():
        ledger = Ledger(folder / "ledger.jsonl")
        if ledger.path.exists():
            try:
                refuse_sealed(folder)
            except MigrationError:
                continue
            found.append((ledger.path.stat().st_mtime, folder.name))
    return [name for _, name in sorted(found, reverse=True)]
