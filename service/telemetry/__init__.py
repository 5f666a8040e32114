"""Metrics, traces and logs: declared here, used everywhere."""
