"""S3's and AWS's errors, by their code or HTTP status (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).

Four clients speak to S3: boto3 has codes, DuckDB the status, and Arrow and delta-rs put both into their text.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from helpers.errors import MigrationError, StageError
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("s3")
GONE = _FAULTS["gone"]


_ARROW = re.compile(r"AWS Error ([A-Z_]+)")
_CODE = re.compile(rf"\b(?:{'|'.join(code for code in _FAULTS if code[0].isupper())})\b")
_STATUS = re.compile(
    r"HTTP (?:status )?(?:code )?(\d{3})\b|\b(\d{3}) (?:Forbidden|Not Found|Unauthorized|Service Unavailable)"
)

_BY_TEXT = (
    (re.compile("certificate|CERTIFICATE_VERIFY_FAILED|SSLError|SSL (connect|server)|WRONG_VERSION_NUMBER", re.IGNORECASE), _FAULTS["certificate"]),
    (re.compile("Name or service not known|No address associated|nodename nor servname|Could not resolve|could not be resolved"), _FAULTS["no_such_host"]),
    (
        re.compile(
            "Connection refused|Couldn't connect|Could not connect|Could not establish connection|NETWORK_CONNECTION|"
            "[Tt]imed? ?out|Connection (reset|was closed|broken)|error sending request|broken pipe|Temporary failure in name",
        ),
        _FAULTS["passing"],
    ),
)  # fmt: skip

_NO_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
)  # fmt: skip
_NO_SESSION = (boto.SSOTokenLoadError, boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError)


def fault(error: Exception) -> Fault | None:
    """What an error of S3 or AWS means, or None where nobody knows.

    Args:
        error: of boto3, of DuckDB's httpfs, of Arrow or of delta-rs.
    """
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        return _FAULTS.get(answer[0].get("Code", "")) or _FAULTS.get(str(answer[1].get("HTTPStatusCode", 0)))
    if isinstance(error, _NO_SESSION):
        return _FAULTS["expired"]
    if isinstance(error, _NO_CREDENTIALS):
        return _FAULTS["keys"]
    text = str(error)
    if isinstance(error, BotoCoreError):
        text += str(error.kwargs.get("error", ""))
    elif code := _CODE.search(_ARROW.sub(lambda found: found[1].title().replace("_", ""), text)):
        return _FAULTS[code[0]]
    elif (stated := _STATUS.search(text)) and (known := _FAULTS.get(stated[1] or stated[2])):
        return known
    if of_text := next((known for pattern, known in _BY_TEXT if pattern.search(text)), None):
        return of_text
    return (
        _FAULTS["passing"]
        if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError)
        else None
    )


def told(
    error: Exception,
    doing: str,
    *,
    on: str,
    kind: type[MigrationError] = StageError,
    cure: str = f"check the bucket's name and the credentials, then {AGAIN}",
) -> MigrationError:
    """The error that says what was tried.

    Args:
        error: as `fault` takes it.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        kind: its class.
        cure: for an error that nobody knows.
    """
    found = fault(error) or Fault(kind, cure)
    return Fault(kind, found.cure, found.transient).told(doing, on=on, why=redact(in_one_line(str(error)))[:MOST])


MOST = 600
"""Characters of a message: an answer may repeat the whole request."""
