"""What handlers find on the application."""

from aiohttp import web

from service.api.lifecycle import Lifecycle
from service.api.limits import Counts, RateLimiter
from service.api.order_requests import OrderRequests
from service.api.timeouts import Timeouts
from service.archives.archives import Archives
from service.archives.delivery import Delivery
from service.archives.named import NamedArchives
from service.archives.renditions import Presets
from service.archives.single_image import SingleImages
from service.assistant.assistant import Assistant
from service.images.spending import Spending
from service.images.store import ImageStore
from service.jobs.jobs import Jobs
from service.jobs.webhook_events import WebhookEvents
from service.orders.orders import Orders
from service.settings import Settings
from service.telemetry.issues import Issues
from service.telemetry.metrics import Metrics
from service.telemetry.stats import Stats
from service.telemetry.traces import Traces
from service.upstream.client import Autoenhance
from service.upstream.uploads import Uploads

SETTINGS = web.AppKey("SETTINGS", Settings)
PRESETS: web.AppKey[Presets] = web.AppKey("PRESETS")
METRICS = web.AppKey("METRICS", Metrics)
STATS = web.AppKey("STATS", Stats)
ISSUES = web.AppKey("ISSUES", Issues)
TRACES = web.AppKey("TRACES", Traces)
ORDERS = web.AppKey("ORDERS", Orders)
UPSTREAM = web.AppKey("UPSTREAM", Autoenhance)
UPLOADS = web.AppKey("UPLOADS", Uploads)
ORDER_REQUESTS = web.AppKey[OrderRequests]("ORDER_REQUESTS")
IMAGES = web.AppKey("IMAGES", ImageStore)
SPENDING = web.AppKey("SPENDING", Spending)
ARCHIVES = web.AppKey("ARCHIVES", Archives)
DELIVERY = web.AppKey("DELIVERY", Delivery)
NAMED = web.AppKey("NAMED", NamedArchives)
SINGLE_IMAGES = web.AppKey("SINGLE_IMAGES", SingleImages)
JOBS = web.AppKey("JOBS", Jobs)
WEBHOOK_EVENTS = web.AppKey("WEBHOOK_EVENTS", WebhookEvents)
LIMITERS = web.AppKey("LIMITERS", dict[Counts, RateLimiter])
ASSISTANT = web.AppKey("ASSISTANT", Assistant)
TIMEOUTS = web.AppKey("TIMEOUTS", Timeouts)
LIFECYCLE = web.AppKey("LIFECYCLE", Lifecycle)

REQUEST_ID = web.RequestKey("REQUEST_ID", str)
PREPARED = web.RequestKey("PREPARED", bool)
"""Set once the head of the response is on its way: from then on no other answer can be given."""
