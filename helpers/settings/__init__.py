"""The settings of a profile, as typed objects: `migration.toml`, the environment, `.env`, and the secrets they refer to.

Each section is a class in the file of its subject; `runbook settings` lists every key of them.
"""

from helpers.settings.backup import Backup, RestoreServer
from helpers.settings.elsewhere import Elsewhere
from helpers.settings.loading import load, load_approvals, local_source, source_from_dsn, source_keys
from helpers.settings.people import Approvals, Contact
from helpers.settings.pipeline import Compliance, Cutover, Dags, Figure, Legacy, Sla, Tests
from helpers.settings.profile import Profile, Settings
from helpers.settings.section import Resolved
from helpers.settings.services import Airflow, Alerts, Aws, Dns, Kafka, Notify, Terraform
from helpers.settings.source import Export, Instance, Policy, Sentinel, Source, Verify
from helpers.settings.sources import DEFAULT_PROFILE, FILE, LOCATION, location
from helpers.settings.stage import Archive, Evidence, Stage
from helpers.settings.sync import SyncOptions
from helpers.settings.tables import Constant, Mask, Match, Tables
from helpers.settings.targets import TARGETS, Databricks, Dbt, Downstream, Snowflake, SnowflakeLogin, Target

__all__ = [
    "DEFAULT_PROFILE", "FILE", "LOCATION", "TARGETS", "Airflow", "Alerts", "Approvals", "Archive", "Aws", "Backup", "Compliance", "Constant", "Contact",
    "Cutover", "Dags", "Databricks", "Dbt", "Dns", "Downstream", "Elsewhere", "Evidence", "Export", "Figure", "Instance", "Kafka", "Legacy", "Mask", "Match", "Notify", "Policy", "Profile",
    "Resolved", "RestoreServer", "Sentinel", "Settings", "Sla", "Snowflake", "SnowflakeLogin", "Source", "Stage", "SyncOptions", "Tables", "Target", "Terraform", "Tests", "Verify", "load",
    "load_approvals", "local_source", "location", "source_from_dsn", "source_keys",
]  # fmt: skip
