resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "email" {
  count = var.alarm_email == "" ? 0 : 1

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "failed_runs" {
  alarm_name          = "${var.name}-failed-runs"
  alarm_description   = "A run of the pipeline failed"
  namespace           = "SalesPipeline"
  metric_name         = "FailedRuns"
  dimensions          = { Pipeline = var.name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Silence is no good news: a pipeline that stopped sends no failures either.
resource "aws_cloudwatch_metric_alarm" "no_run" {
  alarm_name          = "${var.name}-no-run"
  alarm_description   = "No run of the pipeline succeeded for a day"
  namespace           = "SalesPipeline"
  metric_name         = "SucceededRuns"
  dimensions          = { Pipeline = var.name }
  statistic           = "Sum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 86400
  evaluation_periods  = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
