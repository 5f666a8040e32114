"""The changes: each breaks one promise of the core in a way that is easy to overlook."""

from tests.mutants.of_api import API
from tests.mutants.of_archives import ARCHIVES
from tests.mutants.of_cluster import CLUSTER
from tests.mutants.of_images import IMAGES
from tests.mutants.of_jobs import JOBS
from tests.mutants.of_orders import ORDERS
from tests.mutants.of_upstream import UPSTREAM

CORE = (*ARCHIVES, *IMAGES, *ORDERS, *UPSTREAM, *JOBS, *CLUSTER, *API)
