variable "name" {
  description = "Prefix of everything that is made."
  type        = string
  default     = "sales-pipeline"
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"
}

variable "zone_name" {
  description = "DNS zone of the pipeline; the legacy one has a zone below it."
  type        = string
  default     = "sales.example.com"
}

variable "db_password" {
  description = "Of the database's owner (LEGACY_DB_PASSWORD). Terraform keeps it in its state, which is therefore a secret too."
  type        = string
  sensitive   = true
}

variable "postgres_version" {
  type    = string
  default = "13.3"
}

variable "instance_class" {
  type    = string
  default = "db.m5.large"
}

variable "storage_gb" {
  type    = number
  default = 100
}

variable "db_subnet_group" {
  description = "Where the database lives; the default network where it is null."
  type        = string
  default     = null
}

variable "security_group_ids" {
  type    = list(string)
  default = []
}
