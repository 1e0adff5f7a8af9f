"""Where files go: the stage, and the two locations from which nothing can be deleted before its time."""

from __future__ import annotations

from typing import Annotated, Literal

from helpers.settings.section import LOCATION, Address, Secret, Server, example


class Stage(Server):
    """The S3 location of the exported Parquet files."""

    url: Annotated[str, example("s3://your-bucket/migration/", pattern=LOCATION)]
    """Bucket and prefix."""
    region: str = "us-east-1"
    """The bucket's region."""
    endpoint: Annotated[Address | None, example("https://s3.example.com")] = None
    """Only for S3-compatible services; AWS itself needs none."""
    access_key: Annotated[str | None, example("AKIAEXAMPLE")] = None
    """Without both keys the default credential chain (role, SSO, environment) is used."""
    secret_key: Annotated[Secret, example({"env": "AWS_SECRET_ACCESS_KEY"})] = None
    """Belongs to the access key."""


class Locked(Server):
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
    endpoint: Annotated[Address | None, example("https://s3.example.com")] = None
    """Without it and without an access key, the stage's."""
    access_key: Annotated[str | None, example("AKIAEXAMPLE")] = None
    """Without it and without an endpoint, the stage's."""
    secret_key: Annotated[Secret, example({"env": "ARCHIVE_SECRET_ACCESS_KEY"})] = None
    """Belongs to the access key."""

    def as_stage(self, stage: Stage | None) -> Stage:
        """The location with its credentials, which are the stage's where this section names none."""
        like = stage if self.access_key is None and self.endpoint is None else None
        return Stage(
            url=self.url,
            region=self.region or (like.region if like else "us-east-1"),
            endpoint=self.endpoint or (like.endpoint if like else None),
            access_key=self.access_key or (like.access_key if like else None),
            secret_key=self.secret_key or (like.secret_key if like else None),
            connect_timeout_seconds=self.connect_timeout_seconds,
            answer_timeout_seconds=self.answer_timeout_seconds,
        )


class Evidence(Locked):
    """Where `runbook seal` archives sealed evidence, and each attempt anchors the ledger's end, so that nobody can delete either before its time."""

    timestamp_url: Annotated[Address | None, example("http://timestamp.example.com", pattern=r"^https?://[^/]+")] = None
    """An authority (RFC 3161) that also stamps the ledger's end with its time. It is sent a digest, nothing of the run."""
    timestamp_certificate: Annotated[str | None, example("authority.pem")] = None
    """PEM file of the authority's root, from beside this file on. With it, a stamp that it does not prove is not kept."""


class Archive(Locked):
    """Where `runbook archive` puts the legacy data before the legacy system goes."""
