"""What runs in the environment "cloud" (`.venv-cloud`): the AWS stand-in, Terraform, and the stand-in of a provider."""
