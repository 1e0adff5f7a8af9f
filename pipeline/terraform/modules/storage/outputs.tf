output "stage_url" {
  value = "s3://${aws_s3_bucket.stage.bucket}/migration/"
}

output "role_arn" {
  value = aws_iam_role.snowflake.arn
}

output "external_id" {
  value = local.external_id
}
