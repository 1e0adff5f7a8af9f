output "vpc_id" {
  value = aws_vpc.this.id
}

output "subnet_ids" {
  value = aws_subnet.private[*].id
}

output "pipeline_security_group" {
  value = aws_security_group.pipeline.id
}
