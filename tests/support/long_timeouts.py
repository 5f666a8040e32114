"""The service, for a machine that is busy with tests: no call to Redis or S3 is given up because an answer is late.

`python -m tests.support.long_timeouts serve`
"""

import sys
from importlib import import_module

from service.__main__ import main
from tests.support.client import TIMEOUT

BOUNDS = (
    "service.cluster.redis_link.CALL_SECONDS",
    "service.cluster.job_records._CALL_SECONDS",
    "service.cluster.jobs._SUBMIT_SECONDS",
    "service.cluster.objects._DOCUMENT_SECONDS",
    "service.cluster.following._SHARED_SECONDS",
    "service.api.shared_limits.SHARED_SECONDS",
)
"""How long an answer of Redis or S3 is waited for."""

if __name__ == "__main__":
    for bound in BOUNDS:
        module, _, name = bound.rpartition(".")
        setattr(import_module(module), name, TIMEOUT)
    sys.exit(main())
