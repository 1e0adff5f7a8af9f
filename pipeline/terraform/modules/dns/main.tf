resource "aws_route53_zone" "this" {
  name    = var.zone_name
  comment = "Sales pipeline"
}

# The name that clients use. All of them go to the legacy pipeline until the cutover moves the weights, which are its own
# from then on: Terraform sets them once and leaves them alone.
resource "aws_route53_record" "sales" {
  for_each = {
    legacy = { endpoint = var.legacy_endpoint, weight = 100 }
    modern = { endpoint = var.modern_endpoint, weight = 0 }
  }

  zone_id        = aws_route53_zone.this.zone_id
  name           = "db.${var.zone_name}"
  type           = "CNAME"
  ttl            = 60
  records        = [each.value.endpoint]
  set_identifier = each.key

  weighted_routing_policy {
    weight = each.value.weight
  }

  lifecycle {
    ignore_changes = [weighted_routing_policy]
  }
}
