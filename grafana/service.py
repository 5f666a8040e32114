"""The rows of the dashboard that is looked at first, in the sequence in which an operator asks."""

from grafana.panels import CHOSEN, PER_SECOND, Limits, Row, figure, lines, occurred, quantiles, rate, share

# The requests that the objective is about, as in deploy/prometheus/rules/recording.yml: no probes, no pages.
_WORK = 'route=~"(/v1)?/(orders|jobs|archives|s)(/.*)?"'

SERVING = Row(
    "Is it serving?",
    [
        figure(
            "Instances up",
            "Instances that Prometheus reaches.",
            "none",
            f"sum(up{{{CHOSEN}}})",
            limits=Limits(1, 1, low=True, runbook="batchinstancedown"),
        ),
        figure("Requests", "Requests answered per second.", "reqps", rate("batch_http_requests_total"), decimals=1),
        figure(
            "Archives per minute",
            "Archives that were finished, whole or in part.",
            "none",
            "60 * " + rate("batch_archives_total", matching='outcome=~"success|partial"'),
            decimals=1,
        ),
        figure(
            "Failing requests",
            "Share of requests for orders, jobs, archives and by share links that failed: 5xx, or a cut download.",
            "percentunit",
            share(
                rate("batch_http_requests_total", matching=f'{_WORK},status=~"5.."'),
                rate("batch_http_requests_total", matching=_WORK),
            ),
            decimals=2,
            limits=Limits(0.005, 0.05, runbook="batcherrorbudgetburnsfast"),
        ),
        figure(
            "Circuits open",
            "Dependencies whose requests are paused after repeated failures, over all instances.",
            "none",
            f"sum(batch_breaker_state{{{CHOSEN}}} == bool 2)",
            limits=Limits(None, 1, runbook="batchbreakeropen"),
        ),
        figure(
            "Since the last start",
            "How long ago an instance was started, the one that was last.",
            "s",
            f"time() - max(process_start_time_seconds{{{CHOSEN}}})",
        ),
        lines(
            "Archives by outcome",
            "Whole, with images missing, without any image, or given up because nobody wanted them any more.",
            PER_SECOND,
            {"{{outcome}}": rate("batch_archives_total", "outcome")},
            stacked=True,
        ),
        lines(
            "Requests by status",
            "Every answer, by its status; 499: the client left before it was answered.",
            "reqps",
            {"{{status}}": occurred("batch_http_requests_total", "status")},
            stacked=True,
        ),
        lines(
            "Images by outcome",
            "Downloaded from Autoenhance, found in the store, or missing from their archive.",
            PER_SECOND,
            {"{{outcome}}": rate("batch_images_total", "outcome")},
            stacked=True,
        ),
    ],
)

SPEED = Row(
    "How fast is it?",
    [
        lines(
            "First byte",
            "From a request to its first byte: the order call, and the first image. Without those that asked to wait.",
            "s",
            quantiles("batch_archive_first_byte_seconds"),
            limits=Limits(5, 10, runbook="batchfirstbyteslow"),
        ),
        lines(
            "Whole archive",
            "From the start of a build to its last image. Large orders take longer; that is no fault.",
            "s",
            quantiles("batch_archive_duration_seconds"),
        ),
        lines(
            "One image",
            "The download of one image from Autoenhance, retries and their pauses included.",
            "s",
            quantiles("batch_image_download_seconds"),
            limits=Limits(10, 20, runbook="batchupstreamslow"),
        ),
    ],
)

UPSTREAM = Row(
    "Is Autoenhance well?",
    [
        lines(
            "Calls by operation and status",
            "Each attempt counts. 302 is how downloads begin; timeout and error never got an answer.",
            "reqps",
            {"{{operation}} {{status}}": occurred("batch_upstream_requests_total", "operation, status")},
        ),
        lines(
            "Time to answer (P95)",
            "One call, up to the head of its answer.",
            "s",
            {
                "{{operation}}": "histogram_quantile(0.95, "
                + rate("batch_upstream_request_duration_seconds_bucket", "operation, le")
                + ")"
            },
        ),
        lines(
            "Missing images by reason",
            "Why images are missing from archives; the runbooks say what to do about each.",
            PER_SECOND,
            {"{{reason}}": occurred("batch_image_failures_total", "reason")},
            stacked=True,
        ),
        lines(
            "Circuit breaker",
            "Closed: all is well. Open: nothing is sent, and what is stored is served. Between them one call is tried.",
            "none",
            {"{{circuit}} {{instance}}": f"batch_breaker_state{{{CHOSEN}}}"},
            top=2,
            states=("closed", "trying", "open"),
            span=6,
            limits=Limits(1, 2, runbook="batchbreakeropen"),
        ),
        lines(
            "Retries by reason",
            "Calls that were repeated. They may be a tenth of all calls, and twenty a minute more.",
            PER_SECOND,
            {"{{reason}}": occurred("batch_upstream_retries_total", "reason")},
            stacked=True,
            span=6,
        ),
        lines(
            "Downloads at once",
            "Under way, and how many may be: the limit shrinks when Autoenhance cannot keep up, and grows back.",
            "none",
            {
                "under way": f"sum(batch_downloads_in_flight{{{CHOSEN}}})",
                "allowed": f"sum(batch_download_concurrency_limit{{{CHOSEN}}})",
            },
            span=6,
        ),
        lines(
            "Rate limit of downloads",
            "How many may start per second, learned when Autoenhance asks to slow down; 0: no limit.",
            PER_SECOND,
            {"{{instance}}": f"batch_download_rate_limit{{{CHOSEN}}}"},
            span=6,
        ),
    ],
)

OBJECTIVES = Row(
    "Are the objectives met?",
    [
        figure(
            "Error budget left (30 days)",
            "Half a percent of requests may fail. Below zero the objective is missed.",
            "percentunit",
            f'1 - (sum(increase(batch_http_requests_total{{{CHOSEN},{_WORK},status=~"5.."}}[30d])) or vector(0))'
            f" / (0.005 * sum(increase(batch_http_requests_total{{{CHOSEN},{_WORK}}}[30d])))",
            span=8,
            decimals=1,
            limits=Limits(0.25, 0, low=True, runbook="batcherrorbudgetburnsslowly"),
        ),
        figure(
            "First bytes within 10 s (30 days)",
            "The objective is 95%.",
            "percentunit",
            f'sum(increase(batch_archive_first_byte_seconds_bucket{{{CHOSEN},le="10.0"}}[30d]))'
            f" / sum(increase(batch_archive_first_byte_seconds_count{{{CHOSEN}}}[30d]))",
            span=8,
            decimals=2,
            limits=Limits(0.95, 0.9, low=True, runbook="batchfirstbyteslow"),
        ),
        figure(
            "Archives with all images (30 days)",
            "Of those that were finished.",
            "percentunit",
            f'sum(increase(batch_archives_total{{{CHOSEN},outcome="success"}}[30d]))'
            f' / sum(increase(batch_archives_total{{{CHOSEN},outcome!="cancelled"}}[30d]))',
            span=8,
            decimals=2,
            limits=Limits(0.95, 0.8, low=True, runbook="batcharchivespartial"),
        ),
        lines(
            "Burn rate",
            "How many times faster than allowed the error budget is used up; 14.4 for an hour wakes somebody.",
            "none",
            {
                "5 minutes": 'job:batch_request_errors:ratio_rate5m{job="$job"} / 0.005',
                "1 hour": 'job:batch_request_errors:ratio_rate1h{job="$job"} / 0.005',
                "6 hours": 'job:batch_request_errors:ratio_rate6h{job="$job"} / 0.005',
            },
            span=24,
            limits=Limits(6, 14.4, runbook="batcherrorbudgetburnsfast"),
        ),
    ],
)

SATURATION = Row(
    "Is there room?",
    [
        lines(
            "Download slots in use",
            "Share of the downloads that may be under way; at 1 for long, others wait in turn.",
            "percentunit",
            {
                "{{instance}}": f"batch_downloads_in_flight{{{CHOSEN}}}"
                f" / (batch_download_concurrency_limit{{{CHOSEN}}} > 0)"
            },
            top=1,
            span=24,
        ),
        lines(
            "Event loop lag (P99)",
            "How late the loop wakes a timer: above 0.1 s something holds it up.",
            "s",
            {
                "{{instance}}": "histogram_quantile(0.99, "
                + rate("batch_event_loop_lag_seconds_bucket", "instance, le")
                + ")"
            },
            span=6,
            limits=Limits(0.1, 0.25, runbook="batchsaturated"),
        ),
        lines(
            "Memory",
            "What the process has in memory; about 90 MB, whatever the size of the images.",
            "bytes",
            {"{{instance}}": f"process_resident_memory_bytes{{{CHOSEN}}}"},
            span=6,
        ),
        lines(
            "CPU",
            "Cores in use; one process uses one, and a little more for files.",
            "none",
            {"{{instance}}": rate("process_cpu_seconds_total", "instance")},
            span=6,
            limits=Limits(0.7, 0.95, runbook="batchsaturated"),
        ),
        lines(
            "Open files",
            "Connections and image files, as a share of how many there may be.",
            "percentunit",
            {"{{instance}}": f"process_open_fds{{{CHOSEN}}} / process_max_fds{{{CHOSEN}}}"},
            span=6,
            limits=Limits(0.6, 0.8, runbook="batchsaturated"),
        ),
    ],
)


ROWS = (SERVING, SPEED, UPSTREAM, OBJECTIVES, SATURATION)
