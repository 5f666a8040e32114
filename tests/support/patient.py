"""The service, for a machine that is busy with tests: no call to Redis or S3 is given up because an answer is late.

`python -m tests.support.patient serve`
"""

import sys

from service.__main__ import main
from service.cluster import objects, redis_link
from tests.support.client import PATIENCE

if __name__ == "__main__":
    redis_link.CALL_SECONDS = PATIENCE
    objects._DOCUMENT_SECONDS = PATIENCE
    sys.exit(main())
