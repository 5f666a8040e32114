"""What the OpenAPI document says of callers, operators and pages."""

from service import problems as p
from service.api.ask import Question
from service.api.link_sharing import LinkQuery
from service.api.links import NewLink
from service.api.operations import (
    ADMINISTRATORS,
    BODY,
    COUNTED,
    FOREIGN,
    OPEN,
    Json,
    alias,
    answer,
    events,
    in_path,
    in_query,
    json_body,
    json_of,
    operation,
    text,
)
from service.api.order_paths import ARCHIVE_EXAMPLE, ORDER_CALL, shared_downloads
from service.api.session import Login


def callers() -> Json:
    """Who calls, and links."""
    session = json_of("Session")
    path = f"/v1/archives/{ARCHIVE_EXAMPLE}"
    return {
        "/v1/links": {
            "post": operation(
                "Sign the address of a download for a browser that must not be given a key; or share it for days",
                "createLink",
                {
                    "201": answer(
                        "The address; without keys and `expires_in` it is as it was, and has no end.",
                        json_of("Link"),
                        headers=COUNTED,
                    )
                },
                problems=(*BODY, *FOREIGN, *ORDER_CALL, p.LinksUnavailable),
                body=json_body(NewLink, {"path": path}),
            ),
            "get": operation(
                "The caller's share links that still work, newest first",
                "links",
                {"200": answer("A page of them. Administrators see all.", json_of("ShareLinks"))},
                problems=(p.InvalidParameter, p.AdministratorsOnly, p.LinksUnavailable),
                parameters=in_query(LinkQuery),
            ),
        },
        "/v1/links/{link_id}": {
            "delete": operation(
                "Revoke a share link",
                "revokeLink",
                {"204": answer("It opens nothing any more.")},
                problems=(*FOREIGN, p.LinkNotFound, p.LinksUnavailable),
                parameters=[in_path("link_id", "967e5bb1c0a4c0e9d0b54cb47bb8ad3d", "What making it answered.")],
            )
        },
        "/v1/session": {
            "post": operation(
                "Sign in with a caller's key, or as an administrator",
                "signIn",
                {"200": answer("The cookie lasts 8 hours.", session, headers=("Set-Cookie",))},
                problems=(*BODY, *FOREIGN, p.AdministratorsOnly, p.Unauthorized),
                body={**json_body(Login, {"key": "SERVICE_API_KEY"}), "required": False},
                security=OPEN,
            ),
            "get": operation("Who is calling", "session", {"200": answer("Who.", session)}, security=OPEN),
            "delete": operation(
                "Sign out",
                "signOut",
                {"204": answer("The cookie is gone.", headers=("Set-Cookie",))},
                problems=FOREIGN,
                security=OPEN,
            ),
        },
    }


def shared() -> Json:
    """What is behind a share link."""
    token = in_path("token", "aSmpwX3J5bC1jL0dQ2fXkq8VbWn7hT4Z", "Of the share link.")
    shown = answer("The photos; it works without scripts.", text("text/html"))
    missing = answer("A page that says that the link does not work, or no longer.", text("text/html"))
    found = operation("The page of a share link", "sharePage", {"200": shown}, parameters=[token], security=OPEN)
    found["responses"]["404"] = missing
    return {"/s/{token}": {"get": found}, **shared_downloads(token)}


def operators() -> Json:
    """What operators look at."""
    stats = {"get": operation("Live counters", "stats", {"200": answer("Since the start.", json_of("Stats"))})}
    failures = {
        "get": operation(
            "Errors that nobody expected, as Sentry has them; at most a minute old",
            "recentErrors",
            {"200": answer("The newest first.", json_of("Errors"))},
            problems=(p.AdministratorsOnly, p.ErrorsUnavailable, p.ErrorsNotConfigured),
            security=ADMINISTRATORS,
        )
    }
    failing = operation(
        "Fail on purpose, to see the error arrive at Sentry",
        "testError",
        {},
        problems=(p.AdministratorsOnly,),
        security=ADMINISTRATORS,
    )
    return {
        "/v1/stats": stats,
        "/api/stats": alias(stats),
        "/v1/errors": failures,
        "/api/sentry/issues": alias(failures),
        "/sentry-debug": {"get": failing},
        "/health": {"get": _open("The health document", "health", json_of("Health"))},
        "/version": {"get": _open("The version that runs", "version", json_of("Version"))},
        "/livez": {"get": _open("200 while the event loop turns", "livez", text("text/plain"))},
        "/readyz": {"get": _open("503 while starting or stopping", "readyz", text("text/plain"), 503)},
        "/metrics": {"get": _open("Metrics for Prometheus", "metrics", _metrics())},
    }


def pages() -> Json:
    """What people look at."""
    question = operation(
        "Ask about the service and its state",
        "ask",
        {
            "200": answer(
                "`passage` events (`title`, `url`, `text`), `token` events (`text`), and one `done` (`source`).",
                events(),
                headers=COUNTED,
            )
        },
        problems=(*BODY, *FOREIGN),
        body=json_body(Question, {"question": "Why was my ZIP partial?"}),
    )
    described = {"application/json": {"schema": {"type": "object"}}}
    return {
        "/v1/ask": {"post": question},
        "/": {"get": _open("The page", "page", text("text/html"))},
        "/docs": {"get": _open("This reference, to read and try out", "reference", text("text/html"))},
        "/docs/errors": {"get": _leads_to("The explanation of an error, by its code", "errorTypes")},
        "/docs/guide": {"get": _leads_to("The first page of the guide", "guide")},
        "/docs/guide/{page}": {
            "get": _file(
                "A page of the guide, or a picture in it",
                "guidePage",
                {**text("text/html"), **text("image/svg+xml")},
                in_path("page", "quick-start", "A page or picture of the guide."),
            )
        },
        "/openapi.json": {"get": _open("This document", "openapi", described)},
    }


def _leads_to(summary: str, name: str) -> Json:
    return operation(summary, name, {"302": answer("It is there.", headers=("Location",))}, security=OPEN)


def _file(summary: str, name: str, content: Json, which: Json) -> Json:
    answers = {
        "200": answer(summary, content, headers=("Accept-Ranges",)),
        "206": answer("The part asked for.", content, headers=("Accept-Ranges", "Content-Range")),
        "304": answer("The caller has it already.", headers=("Accept-Ranges",)),
    }
    return operation(summary, name, answers, problems=(p.NotFound,), parameters=[which], security=OPEN)


def _open(summary: str, name: str, content: Json, *others: int) -> Json:
    answers = {str(status): answer(summary, content) for status in (200, *others)}
    return operation(summary, name, answers, security=OPEN)


def _metrics() -> Json:
    return {**text("text/plain"), **text("application/openmetrics-text")}
