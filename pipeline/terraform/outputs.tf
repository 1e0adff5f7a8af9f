output "stage_url" {
  description = "For the profile's [stage]."
  value       = module.storage.stage_url
}

output "kafka_bootstrap" {
  description = "For the profile's [kafka]; null while the cluster is not made."
  value       = one(module.kafka[*].bootstrap)
}

output "alarm_topic" {
  description = "What alarms publish to."
  value       = module.monitoring.topic_arn
}

output "zone_id" {
  description = "For the cutover."
  value       = module.dns.zone_id
}

output "storage_integration" {
  description = "For the profile's [snowflake]; null while the objects are not made."
  value       = one(module.snowflake[*].storage_integration)
}
