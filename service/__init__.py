"""All enhanced images of an Autoenhance.ai order as one streamed ZIP."""

__version__ = "1.1.0"
