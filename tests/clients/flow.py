"""What a developer does first with the generated client: `flow ADDRESS KEY ORDER_ID FOLDER` prints what it found."""

import json
import sys
import time
from pathlib import Path
from uuid import UUID

from batch_client import AuthenticatedClient
from batch_client.api.archives import report
from batch_client.api.jobs import create_job, download_job, job
from batch_client.api.orders import download, overview
from batch_client.models import JobDocument, JobStatus, OnFailure, Overview, Problem, Report
from batch_client.types import File


def main(address: str, key: str, order: str, folder: Path) -> None:
    """See what an order holds, download it, build it in the background, read the report."""
    client = AuthenticatedClient(base_url=address, token=key)
    order_id = UUID(order)

    holds = overview.sync(order_id, client=client)
    assert isinstance(holds, Overview)

    response = download.sync_detailed(order_id, client=client, quality=80, on_failure=OnFailure.PARTIAL)
    assert isinstance(response.parsed, File)
    (folder / "download.zip").write_bytes(response.parsed.payload.read())

    made = create_job.sync(order_id, client=client, quality=80, idempotency_key="flow")
    assert isinstance(made, JobDocument)
    while made.status in (JobStatus.QUEUED, JobStatus.PROCESSING):
        time.sleep(0.1)
        found = job.sync(made.job_id, client=client)
        assert isinstance(found, JobDocument)
        made = found
    result = download_job.sync(made.job_id, client=client)
    assert isinstance(result, File)
    (folder / "job.zip").write_bytes(result.payload.read())

    told = report.sync(response.headers["X-Archive-Id"], client=client)
    assert isinstance(told, Report)
    unknown = overview.sync(UUID("00000000-0000-4000-8000-000000000000"), client=client)
    assert isinstance(unknown, Problem)

    print(
        json.dumps(
            {
                "total": holds.total,
                "names": [image.file_name for image in holds.images],
                "status": made.status.value,
                "outcomes": [line.outcome.value for line in told.images],
                "unknown": unknown.code,
            }
        )
    )


if __name__ == "__main__":
    service_address, caller_key, wanted, target = sys.argv[1:]
    main(service_address, caller_key, wanted, Path(target))
