output "storage_integration" {
  value = "${upper(var.database)}_STAGE"
}
