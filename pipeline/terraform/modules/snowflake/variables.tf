variable "database" {
  type = string
}

variable "schemas" {
  type = set(string)
}

variable "warehouse" {
  type = string
}

variable "role" {
  type = string
}

variable "user" {
  description = "Who gets the role; nobody where it is null."
  type        = string
}

variable "verify_role" {
  description = "Role that verifies; none where it is null."
  type        = string
  default     = null
}

variable "stage_url" {
  description = "What the integration may read."
  type        = string
}

variable "storage_role_arn" {
  type = string
}

variable "external_id" {
  type = string
}
