"""What lies in the folders here belongs to pipelines of others: their tests are run by their profiles, not by ours."""

collect_ignore_glob = ["*/functional/*"]
