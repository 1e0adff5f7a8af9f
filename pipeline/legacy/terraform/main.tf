# What the legacy pipeline runs on: its database, the bucket that order files arrive in, and the name that clients use.

terraform {
  required_version = ">= 1.5"

  backend "s3" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 3.39"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Pipeline  = "${var.name}-legacy"
      ManagedBy = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}

resource "aws_db_instance" "sales" {
  identifier        = "${var.name}-legacy"
  engine            = "postgres"
  engine_version    = var.postgres_version
  instance_class    = var.instance_class
  allocated_storage = var.storage_gb
  storage_encrypted = true

  name     = "sales"
  username = "sales"
  password = var.db_password

  db_subnet_group_name   = var.db_subnet_group
  vpc_security_group_ids = var.security_group_ids
  publicly_accessible    = false

  backup_retention_period   = 7
  final_snapshot_identifier = "${var.name}-legacy-final"
  copy_tags_to_snapshot     = true
}

resource "aws_s3_bucket" "orders" {
  bucket = "${var.name}-legacy-orders-${data.aws_caller_identity.current.account_id}"

  versioning {
    enabled = true
  }

  server_side_encryption_configuration {
    rule {
      apply_server_side_encryption_by_default {
        sse_algorithm = "AES256"
      }
    }
  }
}

resource "aws_s3_bucket_public_access_block" "orders" {
  bucket = aws_s3_bucket.orders.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_route53_zone" "legacy" {
  name    = "legacy.${var.zone_name}"
  comment = "Legacy sales pipeline"
}

resource "aws_route53_record" "database" {
  zone_id = aws_route53_zone.legacy.zone_id
  name    = "db.legacy.${var.zone_name}"
  type    = "CNAME"
  ttl     = 60
  records = [aws_db_instance.sales.address]
}
