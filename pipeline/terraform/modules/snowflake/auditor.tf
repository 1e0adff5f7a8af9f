# The role that verifies, where policies hide something from the one that loads (verify_role of the profile).

resource "snowflake_account_role" "auditor" {
  count = var.verify_role == null ? 0 : 1

  name    = var.verify_role
  comment = "Verifies the sales pipeline"
}

resource "snowflake_grant_account_role" "auditor_administrators" {
  count = var.verify_role == null ? 0 : 1

  role_name        = "\"${var.verify_role}\""
  parent_role_name = "\"SYSADMIN\""

  depends_on = [snowflake_account_role.auditor]
}

resource "snowflake_grant_account_role" "auditor_user" {
  count = var.verify_role == null || var.user == null ? 0 : 1

  role_name = "\"${var.verify_role}\""
  user_name = "\"${var.user}\""

  depends_on = [snowflake_account_role.auditor]
}

resource "snowflake_grant_privileges_to_account_role" "auditor_warehouse" {
  count = var.verify_role == null ? 0 : 1

  account_role_name = "\"${var.verify_role}\""
  privileges        = ["USAGE"]

  on_account_object {
    object_type = "WAREHOUSE"
    object_name = "\"${local.warehouse}\""
  }

  depends_on = [snowflake_account_role.auditor, snowflake_warehouse.this]
}

resource "snowflake_grant_privileges_to_account_role" "auditor_database" {
  count = var.verify_role == null ? 0 : 1

  account_role_name = "\"${var.verify_role}\""
  privileges        = ["USAGE"]

  on_account_object {
    object_type = "DATABASE"
    object_name = "\"${local.database}\""
  }

  depends_on = [snowflake_account_role.auditor, snowflake_database.this]
}

resource "snowflake_grant_privileges_to_account_role" "auditor_schemas" {
  count = var.verify_role == null ? 0 : 1

  account_role_name = "\"${var.verify_role}\""
  privileges        = ["USAGE"]

  on_schema {
    future_schemas_in_database = "\"${local.database}\""
  }

  depends_on = [snowflake_account_role.auditor, snowflake_database.this]
}

resource "snowflake_grant_privileges_to_account_role" "auditor_future" {
  for_each = toset([for each in ["TABLES", "VIEWS"] : each if var.verify_role != null])

  account_role_name = "\"${var.verify_role}\""
  privileges        = ["SELECT"]

  on_schema_object {
    future {
      object_type_plural = each.value
      in_database        = "\"${local.database}\""
    }
  }

  depends_on = [snowflake_account_role.auditor, snowflake_database.this]
}
