"""All enhanced images of an Autoenhance.ai order as one streamed ZIP."""

__version__ = "1.0.0"
