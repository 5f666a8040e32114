"""What every job backend promises. A new one is added to `engines.OPENERS`."""
