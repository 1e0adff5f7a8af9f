output "bootstrap" {
  value = aws_msk_cluster.this.bootstrap_brokers_sasl_scram
}
