"""The service, for a machine that is busy with tests: no call to Redis or S3 is given up because an answer is late.

`python -m tests.support.long_timeouts serve`
"""

import sys

from service.__main__ import main
from service.api import shared_limits
from service.cluster import following, job_records, jobs, objects, redis_link
from tests.support.client import TIMEOUT

if __name__ == "__main__":
    redis_link.CALL_SECONDS = TIMEOUT
    job_records._CALL_SECONDS = jobs._SUBMIT_SECONDS = TIMEOUT
    objects._DOCUMENT_SECONDS = TIMEOUT
    following._SHARED_SECONDS = TIMEOUT
    shared_limits.SHARED_SECONDS = TIMEOUT
    sys.exit(main())
