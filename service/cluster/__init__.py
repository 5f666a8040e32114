"""What stands in for local parts where several instances share."""
