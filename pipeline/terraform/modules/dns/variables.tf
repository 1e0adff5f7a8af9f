variable "zone_name" {
  type = string
}

variable "legacy_endpoint" {
  type = string
}

variable "modern_endpoint" {
  type = string
}
