"""Setting a sync up: what logical decoding needs, the publication, and the slot that goes on from the copy."""

from __future__ import annotations

from helpers.model.sync import NAME as NAME
from helpers.model.sync import Sync as Sync
from helpers.model.sync import SyncedTable as SyncedTable
from helpers.model.sync import read as read
from helpers.model.sync import read_if_any as read_if_any
