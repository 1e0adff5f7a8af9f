variable "name" {
  type = string
}

variable "alarm_email" {
  type = string
}
