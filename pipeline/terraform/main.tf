module "network" {
  source = "./modules/network"

  name   = var.name
  region = var.region
  cidr   = var.vpc_cidr
}

module "storage" {
  source = "./modules/storage"

  name      = var.name
  principal = var.snowflake_principal
}

module "kafka" {
  source = "./modules/kafka"
  count  = var.enable_msk ? 1 : 0

  name                  = var.name
  vpc_id                = module.network.vpc_id
  subnet_ids            = module.network.subnet_ids
  client_security_group = module.network.pipeline_security_group
}

module "snowflake" {
  source = "./modules/snowflake"
  count  = var.enable_snowflake_objects ? 1 : 0

  database         = var.snowflake_database
  schemas          = toset([var.snowflake_schema, "LANDING", "MARTS"])
  warehouse        = var.snowflake_warehouse
  role             = var.snowflake_role
  verify_role      = var.snowflake_verify_role
  user             = var.snowflake_user
  stage_url        = module.storage.stage_url
  storage_role_arn = module.storage.role_arn
  external_id      = module.storage.external_id
}

module "monitoring" {
  source = "./modules/monitoring"

  name        = var.name
  alarm_email = var.alarm_email
}

module "dns" {
  source = "./modules/dns"

  zone_name       = var.zone_name
  legacy_endpoint = var.legacy_endpoint
  modern_endpoint = var.modern_endpoint
}
