"""Signing, sealing and checking a run: `runbook keygen`, `attest`, `approve`, `seal` and `verify-evidence`."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import Json, Profile
from helpers.commands.output import Answer, output, say, screen


@output
def keygen(
    key: Annotated[Path, typer.Option(help="File for the private key; the public key goes to PATH.pub.")],
) -> Answer:
    """Create an Ed25519 signing key; an existing one is never overwritten.

    Example: runbook keygen --key ~/.config/migration-runbooks/alice.pem
    """
    from helpers.ledger import keys

    public = keys.generate(key.expanduser())
    summary = {"private_key": str(key), "public_key": f"{key}.pub", "key_id": public.keyid}
    return Answer(summary, lambda: screen.print(f"private key {key}\npublic key  {key}.pub", markup=False))


@output
def attest(
    step: Annotated[str, typer.Argument(help="The step's id, as `runbook status` shows it.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    by: Annotated[str, typer.Option(help="Your name, as in migration.toml.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    note: Annotated[str, typer.Option(help="A remark to sign with it.")] = "",
    profile: Profile = None,
    as_json: Json = False,
) -> Answer:
    """Sign that a step is done that only a person can confirm, or that it exists elsewhere as the profile says.

    Example: runbook attest s60-training --run first --by alice --key alice.pem --note "all three shifts"
    """
    from helpers.evidence import signing

    tell_held(run, profile, ask=not as_json)
    done = signing.attest(places.run_folder(run), step, by=by, key=key.expanduser(), note=note, profile=profile)

    def show() -> None:
        for name, said in done.get("exists_elsewhere", {}).items():
            say(f"{name} exists elsewhere: {said['what']} ({said['link']})")
        for name, envelope in done.get("envelopes", {step: done["envelope"]}).items():
            screen.print(f"{name} attested by {by}: {envelope}", markup=False)

    return Answer(done, show)


@output
def approve(
    step: Annotated[str, typer.Argument(help="The step's id, as `runbook status` shows it.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    by: Annotated[str, typer.Option(help="Your name, as in migration.toml.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    plan: Annotated[
        str | None,
        typer.Option(help="SHA-256 of the plan that you have read, or its first digits; any other plan is refused."),
    ] = None,
    profile: Profile = None,
    as_json: Json = False,
) -> Answer:
    """Show the plan that a step is waiting with, and sign it for the LSN that it was made from. --plan takes the `sha256sum` of the plan's file.

    Example: runbook approve s50-cutover --run first --by alice --key alice.pem --plan 3f2a91c07b54
    """
    from helpers.evidence import signing

    tell_held(run, profile, ask=not as_json)
    path, text = signing.waiting_plan(places.run_folder(run), step)
    screen.print(f"{path}:\n{text}", markup=False, soft_wrap=True)
    done = signing.approve(places.run_folder(run), step, by=by, key=key.expanduser(), plan_sha256=plan, profile=profile)
    line = f"{step} approved by {by}: plan {done['plan_sha256']}, LSN {done['lsn']}"
    return Answer(done, lambda: say(line))


@output
def seal(
    run: Annotated[str, typer.Option(help="The run's name.")],
    key: Annotated[Path, typer.Option(help="Private key to seal with.")],
    previous: Annotated[str | None, typer.Option(help="The previous run; default: the one sealed last.")] = None,
    upload_only: Annotated[
        bool, typer.Option(help="The run is sealed already: only upload its archive again.")
    ] = False,
    profile: Profile = None,
) -> Answer:
    """Hash, sign and pack a run for the auditor; exit 1, with every reason, when it cannot be sealed.

    Example: runbook seal --run first --key seal.pem
    """
    from helpers.checker.rule import counts_in_words
    from helpers.evidence import signing
    from helpers.source import held_snapshots

    done = signing.seal(
        places.run_folder(run), key=key.expanduser(), previous=previous, profile=profile, upload_only=upload_only
    )
    for each in held_snapshots.release_all(run):
        say(f"let go {each}: a sealed run goes on with nothing")

    def show() -> None:
        if not upload_only:
            screen.print(
                f"{done['verdict']}: {counts_in_words(done['counts'])}; {done['files']} files sealed by {done['key_id']}",
                markup=False,
            )
            for sentence in done["why"]:
                say(f"  {sentence}")
            say(f"archive   {done['archive']}")
            say(f"checker   {done['checker']}, SHA-256 {done['checker_sha256']}")
        if done["uploaded"]:
            say(f"uploaded  {done['uploaded']}")

    return Answer(done, show)


@output
def verify_evidence(
    path: Annotated[Path, typer.Argument(help="A run's folder, or its evidence.zip.")],
    public_key: Annotated[
        str, typer.Option(help="Public key of the person who sealed it: a file, PEM text, or base64.")
    ],
    run_key: Annotated[
        str | None,
        typer.Option(help="Public key of the machine that ran it; default: the one named in the ledger."),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The previous run; default: its folder beside this one, if there is one.")
    ] = None,
    checklist: Annotated[
        list[str] | None,
        typer.Option(help="SHA-256 of a checklist that you trust and this program does not know; repeatable."),
    ] = None,
    timestamp_root: Annotated[
        Path | None, typer.Option(help="PEM file of the root that proves the run's time stamps.")
    ] = None,
) -> Answer:
    """Check offline that a sealed run was not changed, and that it shows what it claims.

    Example: runbook verify-evidence outputs/first/evidence.zip --public-key seal.pem.pub
    """
    from helpers.checker.check import check, in_words
    from helpers.checker.public_key import public_key as read_key

    checked = check(
        path, read_key(public_key), run_key=read_key(run_key) if run_key else None, previous=previous,
        checklists=checklist or (), timestamp_root=timestamp_root,
    )  # fmt: skip

    def show() -> None:
        for line in in_words(checked):
            say(line)

    return Answer(checked.as_dict(), show, 1 if checked.findings else 0)
