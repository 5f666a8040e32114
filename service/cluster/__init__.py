"""What stands in for local parts where several instances share a Redis and an S3. One machine does without it."""
