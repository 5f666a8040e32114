"""Talking to Autoenhance: models, the client, and what its answers mean."""
