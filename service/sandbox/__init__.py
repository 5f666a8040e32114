"""A stand-in for the Autoenhance API v3: for the demo, the tests and the benchmarks."""

from .config import SandboxConfig
from .control import SAMPLE_ORDER_ID, Control, ImageSpec
from .faults import Fault, FaultKind
from .log import Counters, Served
from .renditions import Rendition
from .server import Sandbox, serve_sandbox

__all__ = [
    "SAMPLE_ORDER_ID",
    "Control",
    "Counters",
    "Fault",
    "FaultKind",
    "ImageSpec",
    "Rendition",
    "Sandbox",
    "SandboxConfig",
    "Served",
    "serve_sandbox",
]
