variable "name" {
  type = string
}

variable "principal" {
  description = "Who may assume the role; the account itself where it is empty."
  type        = string
}
