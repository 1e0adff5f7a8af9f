"""Kafka's errors, by librdkafka's and the brokers' codes
(https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h, https://kafka.apache.org/protocol#protocol_error_codes).
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

from helpers.errors import LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("kafka")
_BY_CODE = {getattr(KafkaError, name): fault for name, fault in _FAULTS.items() if hasattr(KafkaError, name)}


def fault(error: KafkaError) -> Fault | None:
    """What an error means, or None where nobody knows."""
    return _BY_CODE.get(error.code()) or (_FAULTS["unreached"] if error.retriable() else None)


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
    if fault(own) is _FAULTS["unreached"]:
        own = next((each for each in before if fault(each) not in (None, _FAULTS["unreached"])), own)
    found = fault(own) or Fault(LoadError, f"correct what the message names, then {AGAIN}")
    return found.told(doing, on=on, why=redact(in_one_line(own.str())))
