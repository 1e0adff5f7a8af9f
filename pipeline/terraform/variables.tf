variable "name" {
  description = "Prefix of everything that is made."
  type        = string
  default     = "sales-pipeline"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,30}$", var.name))
    error_message = "The name becomes part of a bucket's: 3 to 31 lower-case letters, digits and dashes, a letter first."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"
}

variable "vpc_cidr" {
  description = "Addresses of the network."
  type        = string
  default     = "10.40.0.0/16"
}

variable "zone_name" {
  description = "DNS zone of the pipeline."
  type        = string
  default     = "sales.example.com"
}

variable "legacy_endpoint" {
  description = "Where clients of the legacy pipeline are sent today."
  type        = string
  default     = "db.legacy.sales.example.com"
}

variable "modern_endpoint" {
  description = "Where the cutover will send them."
  type        = string
  default     = "modern.sales.example.com"
}

variable "alarm_email" {
  description = "Who is told of an alarm; nobody where it is empty."
  type        = string
  default     = ""
}

variable "enable_snowflake_objects" {
  description = "Whether the objects in Snowflake are made (ENABLE_SNOWFLAKE_OBJECTS)."
  type        = bool
  default     = false
}

variable "enable_msk" {
  description = "Whether the Kafka cluster is made, which costs from its first hour (ENABLE_MSK)."
  type        = bool
  default     = false
}

variable "snowflake_organization" {
  description = "The first part of the account's identifier."
  type        = string
  default     = null
}

variable "snowflake_account" {
  description = "The second part of the account's identifier."
  type        = string
  default     = null
}

variable "snowflake_user" {
  description = "Who makes the objects; needs CREATE ROLE, CREATE WAREHOUSE, CREATE DATABASE and CREATE INTEGRATION."
  type        = string
  default     = null
}

variable "snowflake_database" {
  description = "Database of the pipeline."
  type        = string
  default     = "SALES"
}

variable "snowflake_schema" {
  description = "Schema that the migrated tables go to."
  type        = string
  default     = "MIGRATED"
}

variable "snowflake_warehouse" {
  description = "Warehouse that loads and transforms."
  type        = string
  default     = "MIGRATION_WH"
}

variable "snowflake_role" {
  description = "Role of the pipeline."
  type        = string
  default     = "MIGRATION_ROLE"
}

variable "snowflake_verify_role" {
  description = "Role that verifies where policies hide something from the pipeline's (verify_role of the profile); none where it is null."
  type        = string
  default     = null
}

variable "snowflake_principal" {
  description = "ARN of the user that Snowflake assumes the storage role as (DESCRIBE INTEGRATION names it); this account until it is known."
  type        = string
  default     = ""
}
