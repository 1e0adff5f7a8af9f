"""Changes after the snapshot: read from a logical replication slot, put into batches, staged as Parquet, applied to the targets.

A position is an LSN. Everything here means the same by it: every transaction whose commit record lies before the position is
in, and none that lies at it or after it. A batch goes from one position to another and is never cut inside a transaction.

No batch spans a *cut*: a position at which something has to stand still. Where a target or one of its tables already is, where a
table was copied anew, a fence, and the end that `--until` names are cuts. So a target, and each of its tables, takes a batch whole
or not at all, whatever ended the process before, and that is what makes each change take effect once.
"""
