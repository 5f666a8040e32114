"""HTTP handlers, one file per resource, and what every request passes."""
