"""Kafka's errors, by librdkafka's and the brokers' codes
(https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h, https://kafka.apache.org/protocol#protocol_error_codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException

from helpers.errors import LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("kafka")
_BY_CODE = {getattr(KafkaError, name): fault for name, fault in _FAULTS.items() if hasattr(KafkaError, name)}


GUESSES = 3
"""Connections in a row that ended while TLS began, after which that is no broker that was just starting."""


def fault(error: KafkaError) -> Fault | None:
    """What an error means, or None where nobody knows."""
    # The code of a connection that the other side's TLS ended is that of one that was cut.
    if error.code() == KafkaError._TRANSPORT and "SSL alert" in error.str():
        return _FAULTS["tls"]
    return _BY_CODE.get(error.code()) or (_FAULTS["unreached"] if error.retriable() else None)


def refusal(heard: Sequence[KafkaError]) -> KafkaError | None:
    """The first of what a client was told that no patience cures: why a broker does not let us in."""
    definite = next((each for each in heard if fault(each) not in (None, _FAULTS["unreached"])), None)
    if definite:
        return definite
    cut = [each for each in heard if each.code() == KafkaError._TRANSPORT]
    if len(cut) >= GUESSES and all("in state SSL_HANDSHAKE" in each.str() for each in cut):
        return KafkaError(KafkaError._SSL, cut[0].str())
    return None


def told(
    error: KafkaException | KafkaError, doing: str, *, on: str, heard: Sequence[KafkaError] = (), grant: str = ""
) -> MigrationError:
    """The error that says what was tried.

    Args:
        error: of a call.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        heard: what the client was told of its connections. A call that waited in vain for a broker only has a time-out; why
            the broker did not let us in stands there.
        grant: how the right that the call needs is given.
    """
    own = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(own, KafkaError):
        own = KafkaError(KafkaError._FAIL, str(own))
    if fault(own) is _FAULTS["unreached"]:
        own = refusal(heard) or own
    found = fault(own) or Fault(LoadError, f"correct what the message names, then {AGAIN}")
    if found is _FAULTS["rights"] and grant:
        found = replace(found, cure=f"give the right, then {AGAIN}: {grant}")
    return found.told(doing, on=on, why=redact(in_one_line(own.str())))
