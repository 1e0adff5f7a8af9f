"""S3: what may be read there, by reading; what protects a bucket; and what already lies where the profile would write."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from helpers.doctor.subject import Subject
from helpers.errors import MigrationError, StageError
from helpers.finding import Finding, Severity, failed, note, stop, unchecked, warning
from helpers.model import manifest as manifests
from helpers.platforms import postgres
from helpers.platforms.faults import s3 as faults
from helpers.platforms.s3 import Bucket
from helpers.redaction import redact
from helpers.settings import Compliance, Stage

_opening = threading.Lock()
"""boto3's clients may be used by several threads, and made by one at a time
(https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients)."""

WRITES = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
"""What an export, a load and a resumed export need beside reading."""

_MISSING = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})
_DENIED = frozenset({"403", "AccessDenied", "Forbidden", "AllAccessDisabled"})


def examine_stage(subject: Subject) -> Iterator[Finding]:
    """Where the exported files go."""
    settings = subject.settings
    if settings.values.stage is None and not settings.targets:
        fix = "add [profiles.X.stage] and a target, unless PostgreSQL stays (option C)"
        yield unchecked("stage", "the profile has neither a stage nor a target", fix, "a stage: options A and B")
        return
    stage, asked = settings.stage, settings.values.compliance or Compliance()
    bucket = opened(stage)
    if not (yield from _reading(bucket, manifests.NAME)):
        return
    yield from protection(bucket, asked)
    yield from _what_lies_there(bucket, subject)
    needed = f"{', '.join(WRITES)}: export and load"
    fix = "phase 00 with --apply writes, reads and deletes an object"
    yield unchecked("writing", "only writing would tell, and nothing is written here", fix, needed)


def examine_archive(subject: Subject) -> Iterator[Finding]:
    """Where the legacy data go before the legacy system goes."""
    if subject.settings.values.archive:
        yield from _locked(subject.settings.archive_stage)


def examine_evidence(subject: Subject) -> Iterator[Finding]:
    """Where sealed evidence goes."""
    if subject.settings.values.evidence:
        yield from _locked(subject.settings.evidence_stage)


def opened(stage: Stage) -> Bucket:
    """A bucket whose client no other thread makes at the same moment."""
    with _opening:
        return Bucket.open(stage)


def protection(bucket: Bucket, asked: Compliance) -> Iterator[Finding]:
    """What protects a bucket, beside what is asked of it."""
    yield from _look_at_versions(bucket, asked)
    yield from _look_at_encryption(bucket, asked)
    yield from _look_at_region(bucket.stage, asked)


def policy(action: str, bucket: str, prefix: str = "", *, objects: bool) -> str:
    """The statement of an IAM policy that grants an action, in one line.

    Args:
        objects: whether the action is on objects below the prefix, or on the bucket.
    """
    resource = f"arn:aws:s3:::{bucket}"
    statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": f"{resource}/{prefix}*" if objects else resource}  # fmt: skip
    if action == "s3:ListBucket" and prefix:
        statement["Condition"] = {"StringLike": {"s3:prefix": f"{prefix}*"}}
    return json.dumps(statement)


def _reading(bucket: Bucket, name: str) -> Generator[Finding, None, bool]:
    """Lists the prefix and reads one object of it; the generator's value is whether the bucket answers."""
    where, location = {"Bucket": bucket.location.bucket}, bucket.location
    who = "the profile's key" if bucket.stage.access_key else "the default credential chain"
    listing = policy("s3:ListBucket", location.bucket, location.prefix, objects=False)
    tried = _tried(lambda: bucket.client.list_objects_v2(**where, Prefix=location.prefix, MaxKeys=1))
    if tried == "denied":
        yield stop("s3:ListBucket", f"{location} may not be listed by {who}", listing, "to find the files of exports")
    elif isinstance(tried, Exception):
        yield failed("bucket", faults.told(tried, "list", on=_on(bucket)))
        return False
    elif tried == "missing":
        fix = f"correct the URL in migration.toml, or: aws s3api create-bucket --bucket {location.bucket}"
        yield stop("bucket", f"there is no bucket {location.bucket}", fix, "one")
        return False
    else:
        yield note("s3:ListBucket", f"{location} may be listed by {who}")
    read = _tried(lambda: bucket.client.head_object(**where, Key=location.key(name)))
    reading = policy("s3:GetObject", location.bucket, location.prefix, objects=True)
    # Without the right to list, S3 says of an object that is not there that it is denied.
    if read == "denied" and tried != "denied":
        yield stop("s3:GetObject", f"{location} may not be read by {who}", reading, "to read the files of exports")
    elif read == "denied":
        yield unchecked("s3:GetObject", "nobody can tell while the prefix may not be listed", reading, "to read the files of exports")  # fmt: skip
    elif isinstance(read, Exception):
        yield failed("s3:GetObject", faults.told(read, "read", on=_on(bucket)))
    else:
        yield note("s3:GetObject", f"{location} may be read" if read != "missing" else "nothing forbids it; there is no object yet to read")  # fmt: skip
    yield from _region(bucket)
    return True


def _region(bucket: Bucket) -> Iterator[Finding]:
    """Where the bucket lies, beside where the profile says that it does; a compatible service has no say in it."""
    if bucket.stage.endpoint:
        return
    answer = _tried(lambda: bucket.client.head_bucket(Bucket=bucket.location.bucket))
    found = answer.get("BucketRegion") if isinstance(answer, dict) else None
    if found and found != bucket.stage.region:
        yield stop(
            "region", f"the bucket lies in {found}, and the profile says {bucket.stage.region}", f'region = "{found}"'
        )


def _what_lies_there(bucket: Bucket, subject: Subject) -> Iterator[Finding]:
    """A manifest of another source, which an export of this profile would replace."""
    try:
        found = manifests.read_if_any(bucket)
    except StageError as error:
        if not error.transient:
            yield warning("manifest", f"the one that lies there cannot be read: {error.why}", "an export replaces it")
        return
    if found is None:
        yield note("manifest", "none lies there yet")
        return
    ours = postgres.address(subject.settings.source)
    if _database(found.source) == _database(ours):
        yield note("manifest", f"the last export is {found.export}, of {found.source}, {found.exported_at}")
    else:
        fix = (
            "give this profile a stage of its own (another prefix in stage.url); or, where that is the same database under another "
            "address, run `runbook export` once, which replaces it"
        )
        what = f"the one that lies there is of {found.source} ({found.exported_at}): an export would replace it, and remove its files"
        yield stop("manifest", what, fix, f"no export but of {ours}")


def _database(address: str) -> str:
    """A server and its database, whoever read it."""
    return address.rpartition(" as ")[0]


def _locked(stage: Stage) -> Iterator[Finding]:
    bucket = opened(stage)
    where = str(bucket.location)
    try:
        bucket.refuse_without_lock()
        yield note("Object Lock", f"{where} has it")
    except MigrationError as error:
        code = _tried(lambda: bucket.client.get_object_lock_configuration(Bucket=bucket.location.bucket))
        if code == "denied":
            cure = policy("s3:GetBucketObjectLockConfiguration", bucket.location.bucket, objects=False)
            yield stop("s3:GetBucketObjectLockConfiguration", f"{where} may not be asked whether it locks", cure)
        else:
            yield stop(
                "Object Lock", f"{where}: {error.why}", error.next_step, "a bucket with versions and Object Lock"
            )
            return
    for action, ask in (
        ("s3:ListBucketVersions", lambda: bucket.client.list_object_versions(Bucket=bucket.location.bucket, Prefix=bucket.location.prefix, MaxKeys=1)),
    ):  # fmt: skip
        if _tried(ask) == "denied":
            cure = policy(action, bucket.location.bucket, objects=False)
            yield stop(action, f"the versions in {where} may not be listed", cure, "to find what an earlier attempt has locked")  # fmt: skip
    needed = "s3:PutObject, s3:PutObjectRetention, s3:GetObjectRetention, s3:GetObjectVersion"
    yield unchecked("writing", "only writing would tell, and what is locked cannot be removed again", needed=needed)


def _tried(ask: Callable[[], Any]) -> Any:
    """The answer, "denied", "missing", or the error that says neither."""
    try:
        return ask()
    except ClientError as error:
        code = error.response["Error"]["Code"]  # of a HEAD, which has no body, the status
        return "denied" if code in _DENIED else "missing" if code in _MISSING else error
    except BotoCoreError as error:
        return error


def _on(bucket: Bucket) -> str:
    return f"{bucket.location}{f' at {bucket.stage.endpoint}' if bucket.stage.endpoint else ''}"


def _look_at_versions(bucket: Bucket, asked: Compliance) -> Iterator[Finding]:
    try:
        answer = bucket.client.get_bucket_versioning(Bucket=bucket.location.bucket)
        on, why = answer.get("Status") == "Enabled", "keeps no versions of an object"
    except (BotoCoreError, ClientError) as error:
        on, why = False, f"does not say whether it keeps versions: {redact(str(error))}"
    if on:
        yield note("versions", f"{bucket.location.bucket} keeps versions of an object")
    else:
        severity: Severity = "stop" if asked.versioned_stage else "note"
        fix = f"aws s3api put-bucket-versioning --bucket {bucket.location.bucket} --versioning-configuration Status=Enabled"
        yield Finding(severity, "versions", f"{bucket.location.bucket} {why}", fix if asked.versioned_stage else "")


def _look_at_encryption(bucket: Bucket, asked: Compliance) -> Iterator[Finding]:
    try:
        answer = bucket.client.get_bucket_encryption(Bucket=bucket.location.bucket)
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        how = ", ".join(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules)
        yield note("encryption", f"{bucket.location.bucket} encrypts objects at rest by {how}")
    except (BotoCoreError, ClientError, KeyError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        severity: Severity = "stop" if asked.encrypted_stage else "warning"
        fix = "switch default encryption on (SSE-KMS), where the service has it"
        yield Finding(severity, "encryption", f"{bucket.location.bucket} does not say that it encrypts objects at rest ({code})", fix)  # fmt: skip


def _look_at_region(stage: Stage, asked: Compliance) -> Iterator[Finding]:
    if asked.regions and stage.region not in asked.regions:
        fix = "use a bucket in an allowed region"
        yield stop("region", f"{stage.url} lies in {stage.region}, and only {', '.join(asked.regions)} is allowed", fix)
