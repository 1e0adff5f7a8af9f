"""S3's and AWS's errors, by their code or HTTP status (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).

Four clients speak to S3: boto3 has codes, DuckDB the status, and Arrow and delta-rs put both into their text.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from helpers.errors import MigrationError, StageError
from helpers.platforms.faults import Fault, in_one_line
from helpers.redaction import redact

AGAIN = "run the same command again"

_PASSING = Fault(
    StageError,
    f"the service is busy or does not answer: see that it runs (locally: runbook local up), then {AGAIN}",
    True,
)
_RIGHTS = Fault(
    StageError,
    "allow these keys s3:ListBucket on the bucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload "
    f"below the location, and the use of its KMS key where it has one, then {AGAIN}",
)
_KEYS = Fault(
    StageError,
    "correct access_key and secret_key of the section in the profile, or what the default chain finds (role, SSO, environment)",
)
_EXPIRED = Fault(
    StageError, f"the session's token is over: log in again (aws sso login) or renew the keys, then {AGAIN}"
)
_CLOCK = Fault(StageError, f"set this machine's clock: it is not the service's, then {AGAIN}")
_BUCKET = Fault(StageError, "correct the bucket in the url of the profile, or make it")
_REGION = Fault(StageError, "correct region in the profile: the bucket lies in another")
_FULL = Fault(StageError, f"make room in the bucket, or raise its quota, then {AGAIN}")
_CERTIFICATE = Fault(
    StageError,
    "the service's certificate is not one to trust, or it speaks no TLS: correct the scheme of endpoint (http, https), or name "
    "its authority (AWS_CA_BUNDLE)",
)
_NO_SUCH_HOST = Fault(StageError, f"correct endpoint and region in the profile, or mend the name service, then {AGAIN}")
_GONE = Fault(StageError, "the object is gone: export again")

_BY_CODE = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "Forbidden"), _RIGHTS),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException",
         "IncompleteSignature", "MissingAuthenticationToken", "InvalidSecurity", "AuthFailure"),
        _KEYS,
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), _CLOCK),
    "NoSuchBucket": _BUCKET,
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect"), _REGION
    ),
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge", "StorageFull"), _FULL),
    **dict.fromkeys(
        ("SlowDown", "InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
         "RequestLimitExceeded", "TooManyRequestsException", "OperationAborted", "PriorRequestNotComplete", "BandwidthLimitExceeded"),
        _PASSING,
    ),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion"), _GONE),
}  # fmt: skip

_BY_STATUS = {
    301: _REGION, 307: _REGION, 401: _KEYS, 403: _RIGHTS, 404: _GONE, 408: _PASSING, 429: _PASSING, 507: _FULL,
    500: _PASSING, 502: _PASSING, 503: _PASSING, 504: _PASSING,
}  # fmt: skip

_ARROW = re.compile(r"AWS Error ([A-Z_]+)")
_CODE = re.compile(rf"\b(?:{'|'.join(_BY_CODE)})\b")
_STATUS = re.compile(
    r"HTTP (?:status )?(?:code )?(\d{3})\b|\b(\d{3}) (?:Forbidden|Not Found|Unauthorized|Service Unavailable)"
)

_BY_TEXT = (
    (re.compile("certificate|CERTIFICATE_VERIFY_FAILED|SSLError|SSL (connect|server)|WRONG_VERSION_NUMBER", re.IGNORECASE), _CERTIFICATE),
    (re.compile("Name or service not known|No address associated|nodename nor servname|Could not resolve|could not be resolved"), _NO_SUCH_HOST),
    (
        re.compile(
            "Connection refused|Couldn't connect|Could not connect|Could not establish connection|NETWORK_CONNECTION|"
            "[Tt]imed? ?out|Connection (reset|was closed|broken)|error sending request|broken pipe|Temporary failure in name",
        ),
        _PASSING,
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
        return _BY_CODE.get(answer[0].get("Code", "")) or _BY_STATUS.get(answer[1].get("HTTPStatusCode", 0))
    if isinstance(error, _NO_SESSION):
        return _EXPIRED
    if isinstance(error, _NO_CREDENTIALS):
        return _KEYS
    text = str(error)
    if isinstance(error, BotoCoreError):
        text += str(error.kwargs.get("error", ""))
    elif code := _CODE.search(_ARROW.sub(lambda found: found[1].title().replace("_", ""), text)):
        return _BY_CODE[code[0]]
    elif (stated := _STATUS.search(text)) and (known := _BY_STATUS.get(int(stated[1] or stated[2]))):
        return known
    if of_text := next((known for pattern, known in _BY_TEXT if pattern.search(text)), None):
        return of_text
    return (
        _PASSING if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError) else None
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
