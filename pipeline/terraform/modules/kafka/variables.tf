variable "name" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "client_security_group" {
  description = "Who may connect."
  type        = string
}

variable "kafka_version" {
  type    = string
  default = "2.8.1"
}

variable "instance_type" {
  type    = string
  default = "kafka.m5.large"
}

variable "volume_gb" {
  type    = number
  default = 100
}
