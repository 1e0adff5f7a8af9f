"""Where files go: the stage, and the two locations from which nothing can be deleted before its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import model_validator

from helpers.settings.section import LOCATION, Address, FileAnywhere, Secret, Server, example


class AwsIdentity(Server):
    """Who we are to AWS, or to what speaks its protocols."""

    endpoint: Annotated[Address | None, example("https://s3.example.com")] = None
    """Only for compatible services; AWS itself needs none."""
    access_key: Annotated[str | None, example("AKIAEXAMPLE")] = None
    """Without keys, profile_name and role_arn the default credential chain (role, SSO, environment) is used."""
    secret_key: Annotated[Secret, example({"env": "AWS_SECRET_ACCESS_KEY"})] = None
    """Belongs to the access key."""
    session_token: Annotated[Secret, example({"env": "AWS_SESSION_TOKEN"})] = None
    """Belongs to keys that last for a time only."""
    profile_name: Annotated[str | None, example("migration")] = None
    """A profile of AWS's own files (`~/.aws/config`), instead of keys."""
    role_arn: Annotated[
        str | None, example("arn:aws:iam::123456789012:role/migration", pattern=r"^arn:aws[a-z-]*:iam::")
    ] = None
    """A role that is assumed first, by what the other keys lead to, and anew before its session ends."""
    external_id: Annotated[str | None, example("migration-2026", min_length=2)] = None
    """What the role's owner asks for."""
    ca_file: Annotated[FileAnywhere, example("/etc/ssl/certs/corporate-ca.pem")] = None
    """File with the certificates of the authorities to trust, where the service has one of its own."""

    @model_validator(mode="after")
    def _is_one_identity(self) -> Self:
        if why := next(_contradictions(self), None):
            raise ValueError(why)
        return self

    @property
    def is_named(self) -> bool:
        """Whether it says who we are, so that the environment does not."""
        return bool(self.access_key or self.profile_name or self.role_arn)


def _contradictions(found: AwsIdentity) -> Iterator[str]:
    if (found.access_key is None) != (found.secret_key is None):
        yield "it has one of access_key and secret_key: name both, or none for the default chain"
    if found.session_token and not found.access_key:
        yield "session_token belongs to access_key and secret_key, which are not there: add them, or take it away"
    if found.profile_name and found.access_key:
        yield "profile_name and access_key are two ways to log in: take one of them away"
    if found.external_id and not found.role_arn:
        yield "external_id says nothing without role_arn: take it away"
    if found.ca_file and (found.endpoint or "").startswith("http:"):
        yield "ca_file says nothing beside an endpoint without TLS: take one of them away"


class Objects(AwsIdentity):
    """A place in S3, or in a store that speaks its protocol."""

    path_style: Annotated[bool | None, example(True)] = None
    """Whether the bucket's name stands in the path of an address instead of before its host; without it, it does where there is an
    endpoint."""
    kms_key: Annotated[str | None, example("arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab", min_length=1)] = (
        None
    )
    """Key of KMS by which every object of ours is encrypted (SSE-KMS), as a bucket's policy may demand; a service that does not
    confirm it is refused."""

    @property
    def addressing(self) -> Literal["path", "virtual"]:
        """Where the bucket's name stands in an address."""
        by_path = bool(self.endpoint) if self.path_style is None else self.path_style
        return "path" if by_path else "virtual"


class Stage(Objects):
    """The S3 location of the exported Parquet files."""

    url: Annotated[str, example("s3://your-bucket/migration/", pattern=LOCATION)]
    """Bucket and prefix."""
    region: str = "us-east-1"
    """The bucket's region; a store that has none takes any."""


class Locked(Objects):
    """A location under Object Lock: what is written there cannot be deleted before its time."""

    url: Annotated[str, example("s3://your-bucket/archive/", pattern=LOCATION)]
    """Prefix in a bucket with versioning and Object Lock."""
    retention_days: Annotated[int, example(365, ge=1, le=36_500)]
    """How long nothing can be deleted; S3 takes up to a hundred years
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html)."""
    mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE"
    """In GOVERNANCE mode, whoever has a special permission may still delete."""
    region: Annotated[str | None, example("eu-central-1")] = None
    """Without it, the stage's."""

    def as_stage(self, stage: Stage | None) -> Stage:
        """The location with who we are there: as at the stage where this section names neither that nor an endpoint."""
        like: Objects | None = self if self.is_named or self.endpoint else stage
        of = like or self
        who = {name: getattr(of, name) for name in AwsIdentity.model_fields}
        own = {
            "url": self.url,
            "region": self.region or (stage.region if stage and like is stage else "us-east-1"),
            "path_style": of.path_style if self.path_style is None else self.path_style,
            "ca_file": self.ca_file or of.ca_file,
            "kms_key": self.kms_key,
            **{name: getattr(self, name) for name in Server.model_fields},
        }
        return Stage.model_validate({**who, **own})


class Evidence(Locked):
    """Where `runbook seal` archives sealed evidence, and each attempt anchors the ledger's end, so that nobody can delete either before its time."""

    timestamp_url: Annotated[Address | None, example("http://timestamp.example.com", pattern=r"^https?://[^/]+")] = None
    """An authority (RFC 3161) that also stamps the ledger's end with its time. It is sent a digest, nothing of the run."""
    timestamp_certificate: Annotated[str | None, example("authority.pem")] = None
    """PEM file of the authority's root, from beside this file on. With it, a stamp that it does not prove is not kept."""


class Archive(Locked):
    """Where `runbook archive` puts the legacy data before the legacy system goes."""
