"""Renders the sample photos: a small path tracer and the rooms it looks at. Needs numpy (development only)."""
