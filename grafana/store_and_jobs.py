"""The rows of the dashboard for whoever looks closer: the store, jobs and callers."""

from grafana.panels import CHOSEN, PER_SECOND, Limits, Row, figure, lines, occurred, quantiles, rate, share

STORE = Row(
    "What does the store hold?",
    [
        figure(
            "Store in use",
            "Images on disk, as a share of what they may take, at the fullest instance. Full is normal for a cache.",
            "percentunit",
            f"max(batch_store_bytes{{{CHOSEN}}} / batch_store_limit_bytes{{{CHOSEN}}})",
            span=8,
        ),
        figure(
            "Hours until the store is replaced",
            "At the rate of the last hours: with fewer, archives go before their time, and images are fetched again.",
            "h",
            'min(job_instance:batch_store_turnover:hours{job="$job"})',
            span=8,
            limits=Limits(6, 2, low=True, runbook="batchstorenearlyfull"),
        ),
        figure(
            "Images without room, last hour",
            "Downloads failed because nothing in the store could be removed.",
            "none",
            f'sum(increase(batch_image_failures_total{{{CHOSEN},reason="store_full"}}[1h]))',
            span=8,
            limits=Limits(None, 1, runbook="batchstorefull"),
        ),
        lines(
            "Store",
            "Images on disk, and how much they may take.",
            "bytes",
            {
                "{{instance}}": f"batch_store_bytes{{{CHOSEN}}}",
                "limit {{instance}}": f"batch_store_limit_bytes{{{CHOSEN}}}",
            },
        ),
        lines(
            "Evictions",
            "Images removed to make room for others.",
            PER_SECOND,
            {"{{instance}}": rate("batch_store_evictions_total", "instance")},
        ),
        lines(
            "Requests for archives by cache result",
            "hit: a finished archive; joined: one being built; stale: an older one while Autoenhance is down.",
            "reqps",
            {"{{result}}": rate("batch_archive_cache_requests_total", "result")},
            stacked=True,
        ),
        lines(
            "Size of archives",
            "Length of the archives that were finished.",
            "bytes",
            quantiles("batch_archive_size_bytes"),
            span=6,
        ),
        lines(
            "Size of images",
            "Of the images that were downloaded.",
            "bytes",
            quantiles("batch_image_size_bytes"),
            span=6,
        ),
        lines(
            "Images reused",
            "Share of images that were in the store already: downloads, and credits, that were not needed again.",
            "percentunit",
            {"reused": share(rate("batch_images_total", matching='outcome="stored"'), rate("batch_images_total"))},
            top=1,
            span=6,
        ),
        lines(
            "Images bought and fetched again",
            "Bought: full size, for a credit. Lost: damaged or deleted here. Incomplete: it came without its end."
            " Refresh: asked for anew. Uncoordinated: Redis or S3 was away, another instance may have fetched it too.",
            PER_SECOND,
            {
                "bought": rate("batch_images_bought_total"),
                "again: {{why}}": rate("batch_images_refetched_total", "why"),
            },
            span=6,
        ),
    ],
)

_CREDITS = "batch_images_bought_total"

COST = Row(
    "What does it cost?",
    [
        figure(
            "Credits in the last hour",
            "Images bought: full size, that had not been bought before.",
            "none",
            f"sum(increase({_CREDITS}{{{CHOSEN}}}[1h]))",
            span=6,
        ),
        figure(
            "Credits in the last 24 hours",
            "The same, for a day.",
            "none",
            f"sum(increase({_CREDITS}{{{CHOSEN}}}[24h]))",
            span=6,
        ),
        figure(
            "Credits against the week",
            "The last hour, as a multiple of the busiest hour of the seven days before.",
            "none",
            f"(sum(increase({_CREDITS}{{{CHOSEN}}}[1h])) > 0 or vector(0))"
            f" / (max_over_time(sum(increase({_CREDITS}{{{CHOSEN}}}[1h]))[7d:1h] offset 1h) > 0 or vector(1))",
            span=6,
            decimals=1,
            limits=Limits(1, 1.5, runbook="batchcreditsspentfast"),
        ),
        figure(
            "Images not bought for want of credits, last hour",
            "The account has none left.",
            "none",
            f'sum(increase(batch_image_failures_total{{{CHOSEN},reason="no_credit"}}[1h]))',
            span=6,
            limits=Limits(None, 1, runbook="batchnocredit"),
        ),
        lines(
            "Credits per hour",
            "At the rate of the moment.",
            "none",
            {"{{instance}}": "3600 * " + rate(_CREDITS, "instance")},
            stacked=True,
            span=24,
        ),
    ],
)

SHARED = Row(
    "What do the instances share?",
    [
        lines(
            "Redis and S3",
            "Whether the last call was answered, at the instance that fares worst; empty where one stands alone.",
            "none",
            {"{{what}}": f"min by (what) (batch_shared_up{{{CHOSEN}}})"},
            states=("away", "there"),
            top=1,
            span=12,
            limits=Limits(1, 1, low=True, runbook="batchsharedpartaway"),
        ),
        lines(
            "Images fetched without the others",
            "Redis or S3 was away, so another instance may have fetched them too.",
            PER_SECOND,
            {"{{instance}}": rate("batch_images_refetched_total", "instance", matching='why="uncoordinated"')},
            span=12,
        ),
    ],
)

JOBS = Row(
    "How are the jobs?",
    [
        lines(
            "Open jobs",
            "Jobs that have not ended, by status.",
            "none",
            {"{{status}}": f"max by (status) (batch_jobs_open{{{CHOSEN}}})"},
        ),
        lines(
            "Jobs ended",
            "Complete, failed or cancelled.",
            PER_SECOND,
            {"{{outcome}}": rate("batch_jobs_total", "outcome")},
            stacked=True,
        ),
        lines(
            "Callbacks",
            "Callbacks attempted, by outcome.",
            PER_SECOND,
            {"{{outcome}}": rate("batch_callbacks_total", "outcome")},
            stacked=True,
        ),
        lines(
            "Deliveries",
            "ZIPs sent into the storage of callers, by outcome.",
            PER_SECOND,
            {"{{outcome}}": rate("batch_deliveries_total", "outcome")},
            stacked=True,
        ),
    ],
)

CALLERS = Row(
    "How are the callers?",
    [
        lines(
            "Requests by route",
            "Answers per second.",
            "reqps",
            {"{{route}}": occurred("batch_http_requests_total", "route")},
        ),
        lines(
            "Failed requests by route and status",
            "Answers of 5xx: 500 is a fault of ours, 502 to 504 mostly Autoenhance's.",
            "reqps",
            {"{{status}} {{route}}": occurred("batch_http_requests_total", "status, route", matching='status=~"5.."')},
        ),
        lines(
            "Refused and gone",
            "Requests over their caller's limit, and clients that left before the last byte.",
            PER_SECOND,
            {
                "rate limited": rate("batch_rate_limited_total"),
                "left": rate("batch_client_disconnects_total"),
            },
        ),
    ],
)


ROWS = (STORE, COST, SHARED, JOBS, CALLERS)
