"""Kafka's errors, by librdkafka's and the brokers' codes
(https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h, https://kafka.apache.org/protocol#protocol_error_codes).
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

from helpers.errors import ConnectionFailed, LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line
from helpers.redaction import redact

AGAIN = "run the same command again"

_UNREACHED = Fault(
    ConnectionFailed, f"check bootstrap and security in the profile (locally: runbook local status), then {AGAIN}", True
)
_NO_ENTRY = Fault(
    ConnectionFailed,
    "correct user, password and mechanism of [profiles.NAME.kafka], or let this user in; a login that was refused is not tried "
    "again",
)
_TLS = Fault(
    ConnectionFailed,
    "the brokers' certificate is not one to trust, or they speak no TLS: correct ca_file, security and the port of bootstrap",
)
_NAME = Fault(ConnectionFailed, f"correct bootstrap in the profile, or mend the name service, then {AGAIN}")
_RIGHTS = Fault(
    LoadError,
    f"give the user the ACL that the message names (topic: Read, Write, Describe, Create; group: Read), then {AGAIN}",
)
_SIZE = Fault(LoadError, "raise max.message.bytes of the topic, and message.max.bytes of the brokers")
_REPLICAS = Fault(LoadError, "correct replicas in the profile: there are not so many brokers")

_BY_CODE = {
    **dict.fromkeys((KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
                     KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError.ILLEGAL_SASL_STATE), _NO_ENTRY),
    KafkaError._SSL: _TLS,
    KafkaError._RESOLVE: _NAME,
    **dict.fromkeys((KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
                     KafkaError.CLUSTER_AUTHORIZATION_FAILED), _RIGHTS),
    KafkaError.MSG_SIZE_TOO_LARGE: _SIZE,
    KafkaError.INVALID_REPLICATION_FACTOR: _REPLICAS,
    **dict.fromkeys((KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT),
                    _UNREACHED),
}  # fmt: skip


def fault(error: KafkaError) -> Fault | None:
    """What an error means, or None where nobody knows."""
    return _BY_CODE.get(error.code()) or (_UNREACHED if error.retriable() else None)


def told(
    error: KafkaException | KafkaError, doing: str, *, on: str, before: Sequence[KafkaError] = ()
) -> MigrationError:
    """The error that says what was tried.

    Args:
        error: of a call.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        before: what the client was told of its connections. A call that waited in vain for a broker only has a time-out; why
            the broker did not let us in stands there.
    """
    own = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(own, KafkaError):
        own = KafkaError(KafkaError._FAIL, str(own))
    if fault(own) is _UNREACHED:
        own = next((each for each in before if fault(each) not in (None, _UNREACHED)), own)
    found = fault(own) or Fault(LoadError, f"correct what the message names, then {AGAIN}")
    return found.told(doing, on=on, why=redact(in_one_line(own.str())))
