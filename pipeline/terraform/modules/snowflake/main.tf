locals {
  # Names rather than attributes of the objects: a team that has its database or its role from elsewhere takes the resource
  # out, and the rest stays as it is.
  database    = var.database
  role        = var.role
  warehouse   = var.warehouse
  integration = "${upper(var.database)}_STAGE"
}

resource "snowflake_warehouse" "this" {
  name                = local.warehouse
  warehouse_size      = "SMALL"
  auto_suspend        = 60
  auto_resume         = "true"
  initially_suspended = true
  comment             = "Loads and transforms the sales pipeline"
}

resource "snowflake_database" "this" {
  name    = local.database
  comment = "Sales pipeline"

  lifecycle {
    prevent_destroy = true
  }
}

resource "snowflake_schema" "this" {
  for_each = var.schemas

  database = local.database
  name     = each.value
  comment  = "Sales pipeline"

  # Future grants reach only what is made after them.
  depends_on = [snowflake_database.this, snowflake_grant_privileges_to_account_role.auditor_schemas]

  lifecycle {
    prevent_destroy = true
  }
}

resource "snowflake_account_role" "this" {
  name    = local.role
  comment = "Loads and transforms the sales pipeline"
}

resource "snowflake_grant_privileges_to_account_role" "warehouse" {
  account_role_name = "\"${local.role}\""
  privileges        = ["USAGE"]

  on_account_object {
    object_type = "WAREHOUSE"
    object_name = "\"${local.warehouse}\""
  }

  depends_on = [snowflake_account_role.this, snowflake_warehouse.this]
}

resource "snowflake_grant_privileges_to_account_role" "database" {
  account_role_name = "\"${local.role}\""
  privileges        = ["USAGE", "CREATE SCHEMA"]

  on_account_object {
    object_type = "DATABASE"
    object_name = "\"${local.database}\""
  }

  depends_on = [snowflake_account_role.this, snowflake_database.this]
}

resource "snowflake_grant_privileges_to_account_role" "schemas" {
  for_each = var.schemas

  account_role_name = "\"${local.role}\""
  privileges        = ["USAGE", "CREATE TABLE", "CREATE VIEW"]

  on_schema {
    schema_name = "\"${local.database}\".\"${each.value}\""
  }

  depends_on = [snowflake_account_role.this, snowflake_schema.this]
}

# What others make in the database is seen, so that a load refuses to replace it before it begins.
resource "snowflake_grant_privileges_to_account_role" "future" {
  for_each = toset(["TABLES", "VIEWS"])

  account_role_name = "\"${local.role}\""
  privileges        = ["SELECT"]

  on_schema_object {
    future {
      object_type_plural = each.value
      in_database        = "\"${local.database}\""
    }
  }

  depends_on = [snowflake_account_role.this, snowflake_database.this]
}

resource "snowflake_grant_privileges_to_account_role" "integration" {
  account_role_name = "\"${local.role}\""
  privileges        = ["USAGE"]

  on_account_object {
    object_type = "INTEGRATION"
    object_name = "\"${local.integration}\""
  }

  depends_on = [snowflake_account_role.this, snowflake_storage_integration.stage]
}

resource "snowflake_grant_account_role" "administrators" {
  role_name        = "\"${local.role}\""
  parent_role_name = "\"SYSADMIN\""

  depends_on = [snowflake_account_role.this]
}

resource "snowflake_grant_account_role" "user" {
  count = var.user == null ? 0 : 1

  role_name = "\"${local.role}\""
  user_name = "\"${var.user}\""

  depends_on = [snowflake_account_role.this]
}

resource "snowflake_storage_integration" "stage" {
  name                      = local.integration
  type                      = "EXTERNAL_STAGE"
  enabled                   = true
  storage_provider          = "S3"
  storage_allowed_locations = [var.stage_url]
  storage_aws_role_arn      = var.storage_role_arn
  storage_aws_external_id   = var.external_id
}
