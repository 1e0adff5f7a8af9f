terraform {
  required_version = ">= 1.5"

  # The arguments come from the profile (`backend` in its section `terraform`), or from `terraform init -backend-config`.
  backend "s3" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 3.39"
    }
    snowflake = {
      source  = "snowflakedb/snowflake"
      version = "~> 2.11"
    }
  }
}
