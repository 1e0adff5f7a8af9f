"""Which time zones explain a difference between two timestamps, by their offset at each instant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.base import Fit
from helpers.verify.hypotheses.pairs import Pairs

SESSION = (
    "A session's time zone is not UTC, so that a time without a zone and an instant are taken for each other: set "
    "TIMEZONE = 'UTC' in the load session (spark.sql.session.timeZone, TIMESTAMP_TYPE_MAPPING, PGTZ)"
)

POPULAR = """
Europe/Berlin Europe/London America/New_York America/Los_Angeles America/Chicago America/Denver Asia/Kolkata Asia/Shanghai
Asia/Tokyo Australia/Sydney Europe/Paris Europe/Madrid Europe/Rome Europe/Zurich Europe/Amsterdam Europe/Warsaw
Europe/Lisbon Europe/Helsinki Europe/Athens Europe/Istanbul Europe/Kyiv Europe/Moscow Africa/Lagos Africa/Johannesburg
Africa/Cairo Africa/Nairobi Africa/Casablanca Asia/Dubai Asia/Tehran Asia/Karachi Asia/Dhaka Asia/Kathmandu Asia/Yangon
Asia/Bangkok Asia/Jakarta Asia/Singapore Asia/Hong_Kong Asia/Manila Asia/Seoul Australia/Perth Australia/Adelaide
Australia/Brisbane Pacific/Auckland Pacific/Honolulu America/Anchorage America/Phoenix America/Toronto America/Mexico_City
America/Bogota America/Lima America/Santiago America/Caracas America/Halifax America/St_Johns America/Sao_Paulo
America/Argentina/Buenos_Aires Atlantic/Azores Asia/Jerusalem Asia/Riyadh Asia/Tashkent
""".split()
"""Named first where several explain the same; every other zone of the database is tried too."""

CONTINENTS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")

SCREENED, COMPARED = 60, 500
"""Pairs that all zones are tried on, and those that the zones which explain most of them are compared on."""

NAMED = 4

TO_LOCAL = "TRY(tu = epoch_us(timezone({zone}, make_timestamptz(su))))"
"""The target shows the zone's local time of the source's instant."""

FROM_LOCAL = "TRY(tu = epoch_us(timezone({zone}, make_timestamp(su))))"
"""The target is the instant at which the zone's clocks show the source."""

QUARTER, EASTMOST = 900_000_000, 14 * 3_600_000_000
"""Offsets of time zones are whole quarter hours from −12 h to +14 h, in microseconds
(https://data.iana.org/time-zones/tzdb/asia and its neighbours, for the times since about 1970)."""

DIFFERENCE = "(tu::HUGEINT - su::HUGEINT)"


def constant_offset(pairs: Pairs, shift: int, predicate: str) -> str:
    """The likely cause of a constant shift by a UTC offset, with the zones that had it at every one of the instants.

    Args:
        shift: microseconds from source to target.
        predicate: of the pairs that are shifted so.
    """
    named, offsets = [], []
    for form, words, offset in (
        (TO_LOCAL, "the target shows local time of", shift),
        (FROM_LOCAL, "the source was read as local time of", -shift),
    ):
        offsets.append(f"{words} {_offset(offset)}")
        explained, of, zones = _explaining(pairs, form, predicate)
        if explained == of:
            named.append(f"{offsets[-1]}, as {_names(zones)} had it at all these times")
    return f"{SESSION}. It is as if {'; or '.join(named or offsets)}."


def daylight_saving(pairs: Pairs) -> Iterable[Fit]:
    """Shifts that follow a zone's daylight saving time, and other changes of its offset."""
    whole = f"{DIFFERENCE} % {QUARTER} = 0 AND abs({DIFFERENCE}) <= {EASTMOST}"
    if len(pairs.top(f"{DIFFERENCE}::VARCHAR", 2, whole)) < 2:
        return
    for form, words in ((TO_LOCAL, "shows local time of {}"), (FROM_LOCAL, "is the source read as local time of {}")):
        explained, _, zones = _explaining(pairs, form, whole)
        if explained >= 2:
            yield Fit(
                "time-zone", form.format(zone=literal(zones[0])),
                f"the target {words.format(zones[0])}, daylight saving time included",
                f"{SESSION}. Zones that explain the same: {_names(zones)}.", cost=6.5, least=2,
            )  # fmt: skip


def _explaining(pairs: Pairs, form: str, predicate: str) -> tuple[int, int, Sequence[str]]:
    """How many pairs of a sample the best zones explain, of how many, and the zones."""
    continents = ", ".join(literal(continent) for continent in CONTINENTS)
    zones = f"(SELECT name AS zone FROM pg_timezone_names() WHERE contains(name, '/') AND split_part(name, '/', 1) IN ({continents}))"
    best, of = 0, 0
    for size in (SCREENED, COMPARED):
        sample = pairs.remember(f"SELECT su, tu FROM {pairs.table} WHERE {predicate} ORDER BY hash(id) LIMIT {size}")
        explained = pairs.rows(
            f"SELECT zone, count(*) FILTER ({form.format(zone='zone')}), count(*) FROM {zones} CROSS JOIN {sample} GROUP BY zone"
        )
        best, of = max(count for _, count, _ in explained), explained[0][2]
        if not best:
            return 0, of, ()
        enough = best if size == COMPARED else 0.9 * best
        names = [zone for zone, count, _ in explained if count >= enough]
        zones = f"(SELECT unnest([{', '.join(literal(name) for name in names)}]) AS zone)"
    known = {name: n for n, name in enumerate(POPULAR)}
    return best, of, sorted(names, key=lambda name: (known.get(name, len(known)), name))


def _names(zones: Sequence[str]) -> str:
    named = ", ".join(zones[:NAMED])
    return named + (f" and {len(zones) - NAMED} more" if len(zones) > NAMED else "")


def _offset(microseconds: int) -> str:
    minutes = abs(microseconds) // 60_000_000
    return f"UTC{'+' if microseconds >= 0 else '−'}{minutes // 60:02d}:{minutes % 60:02d}"
