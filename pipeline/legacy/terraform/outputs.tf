output "database_address" {
  description = "For the profile's [source]."
  value       = aws_db_instance.sales.address
}

output "orders_bucket" {
  description = "Where order files arrive."
  value       = aws_s3_bucket.orders.bucket
}
