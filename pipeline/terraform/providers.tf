provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Pipeline  = var.name
      ManagedBy = "terraform"
    }
  }
}

# Its password or key comes from SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY, which the provider reads itself: a variable
# would be kept in clear in every plan file.
provider "snowflake" {
  organization_name        = var.snowflake_organization
  account_name             = var.snowflake_account
  user                     = var.snowflake_user
  preview_features_enabled = ["snowflake_storage_integration_resource"]
}
