"""`/openapi.json` tells what the service does: no more, and no less."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jsonschema
import pytest
from multidict import MultiDict
from openapi_spec_validator import OpenAPIV31SpecValidator

from service import problems
from service.api.limits import Counts
from service.api.openapi import document
from service.api.query import read_as
from service.api.routes import ROUTES
from service.app import create_app
from service.problems import Problem
from service.settings import Settings
from tests.support.client import Answer, Service, StartService
from tests.support.samples import jpeg, order
from tests.support.upstream import FakeUpstream

# Style sheets, scripts and icons. Their addresses hold a digest of their content: they change with every version, and
# only the page that names them knows them.
PARTS = {"/web/{version}/{name}", "/docs/files/{version}/{name}"}
# What HTTP says by itself, and what guards every answer.
SAID_BY_HTTP = {
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "server",
    "transfer-encoding",
    "vary",
}
GUARDS = {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
    "x-robots-tag",
}
# What a document cannot give an example of: the id of an archive, a job or a link of this service, files, a token, a
# Sentry, an upstream that takes uploads or lists orders; and the one that fails on purpose.
NEED_MORE = {
    "archive",
    "cancelJob",
    "createOrder",
    "createSampleOrder",
    "describeArchive",
    "describeJob",
    "describeSharedDownload",
    "describeSharedImage",
    "downloadJob",
    "job",
    "jobEvents",
    "orders",
    "recentErrors",
    "repeatCallback",
    "report",
    "revokeLink",
    "sharePage",
    "sharedDownload",
    "sharedImage",
    "signIn",
    "testError",
}
TOKEN, KEY = "token-of-the-administrator", "key-of-a-caller"
CREDENTIALS = {"X-API-Key": KEY, "X-Admin-Token": TOKEN, "Authentication": "secret"}


class Operation(NamedTuple):
    """One operation of the document."""

    path: str
    method: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations() -> Iterator[Operation]:
    """All of them."""
    shared = document(ROUTES)["components"]["parameters"]
    for path, item in document(ROUTES)["paths"].items():
        for method, facts in item.items():
            parameters = [shared[each["$ref"].rpartition("/")[2]] for each in facts["parameters"]]
            yield Operation(path, method, {**facts, "parameters": parameters})


OPERATIONS = list(operations())
HEADS = ("describeArchive", "describeDownload", "describeJob", "describeSharedDownload")


def test_the_document_is_valid() -> None:
    """By the rules of OpenAPI 3.1."""
    assert [str(error) for error in OpenAPIV31SpecValidator(document(ROUTES)).iter_errors()] == []


def test_the_document_knows_every_route_and_no_other() -> None:
    """Paths and methods, aliases included. HEAD is told of where it is more than GET without its body."""
    routes: dict[str, dict[str, object]] = {}
    for route in create_app(Settings(_env_file=None)).router.routes():
        assert route.resource is not None
        routes.setdefault(route.resource.canonical, {})[route.method.lower()] = route.handler
    served = {
        path: {method for method, handler in methods.items() if method != "head" or methods.get("get") is not handler}
        for path, methods in routes.items()
        if path not in PARTS
    }
    assert set(routes) >= PARTS

    described = {path: set(item) for path, item in document(ROUTES)["paths"].items()}

    assert described == served


def test_every_operation_is_in_one_group_that_is_explained() -> None:
    """Whoever reads the reference finds what belongs together; no group is empty."""
    described = [tag["name"] for tag in document(ROUTES)["tags"] if tag["description"]]

    assert {len(operation.facts["tags"]) for operation in OPERATIONS} == {1}
    assert {operation.facts["tags"][0] for operation in OPERATIONS} == set(described)


def test_every_parameter_says_what_it_does() -> None:
    """A name and a type alone leave the reader guessing."""
    parameters = [parameter for operation in OPERATIONS for parameter in operation.facts.get("parameters", ())]

    assert len(parameters) > 50
    assert [parameter["name"] for parameter in parameters if not parameter.get("description")] == []


def test_operations_have_names_of_their_own() -> None:
    """Programs that are made from the document call them so."""
    names = [operation.facts["operationId"] for operation in OPERATIONS]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_status_says_what_it_means(operation: Operation) -> None:
    """In words; and who may call is said, or that everybody may."""
    schemes = document(ROUTES)["components"]["securitySchemes"]

    assert all(response["description"] for response in operation.facts["responses"].values())
    assert operation.facts["summary"]
    assert {name for one in operation.facts["security"] for name in one} <= set(schemes)


def test_every_problem_is_the_answer_to_something() -> None:
    """A code that nothing is documented to answer with is forgotten, or gone."""
    # Of routes that are not there: no route can be, of preflights: CORS says what they are, of what a stop interrupts.
    apart = {"method_not_allowed", "origin_refused", "draining"}
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, type) and issubclass(kind, Problem)]
    codes = {kind.code for kind in kinds if hasattr(kind, "code")}
    described = {
        code
        for operation in OPERATIONS
        for response in operation.facts["responses"].values()
        for code in re.findall(r"`([a-z_]+)`:", response["description"])
    }

    assert codes - apart - described == {
        "job_crashed",
        "no_orders",
        "nothing_new",
    }  # errors of a job, never a problem as an answer


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("overview", "503", "still_building"),
        ("report", "503", "still_building"),
        ("describeArchive", "503", "still_building"),
        ("describeJob", "503", "still_building"),
        ("describeJob", "503", "jobs_unavailable"),
        ("downloadJob", "503", "jobs_unavailable"),
        ("archive", "404", "order_not_found"),
        ("archive", "422", "no_images"),
        ("archive", "503", "breaker_open"),
        ("archive", "503", "credit_limit"),
        *((name, "412", "precondition_failed") for name in HEADS),
        *((name, "304", "") for name in HEADS),
    ],
)
def test_what_no_example_shows_is_described(name: str, status: str, code: str) -> None:
    """What cannot be told while other instances' storage is away, how the build of an archive may end that is asked for
    by its id, and what HEAD says under conditions."""
    (operation,) = (one for one in OPERATIONS if one.facts["operationId"] == name)

    assert code in operation.facts["responses"][status]["description"]


def test_the_overview_is_of_any_order() -> None:
    """However many images it has: it is what links the parts."""
    (overview,) = (one for one in OPERATIONS if one.facts["operationId"] == "overview")

    assert "413" not in overview.facts["responses"]


def test_what_is_so_by_default_can_be_sent() -> None:
    """As some generated clients do with what they are not told."""
    models = {(route.method.lower(), route.canonical): route.query for route in ROUTES if route.query is not None}
    defaults = [
        (models[operation.method, operation.path], parameter["name"], str(parameter["schema"]["default"]))
        for operation in OPERATIONS
        for parameter in operation.facts["parameters"]
        if "default" in parameter["schema"]
    ]

    assert len(defaults) > 50
    for model, name, default in defaults:
        read_as(model, MultiDict({name: default}))


@pytest.fixture
async def service(upstream: FakeUpstream, start_service: StartService) -> Service:
    """A service that knows the example order."""
    _know_example(upstream)
    return await start_service(service_api_key=KEY, admin_token=TOKEN, autoenhance_webhook_secret="secret")


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
async def test_every_example_is_answered_as_described(service: Service, operation: Operation) -> None:
    """With and without credentials: status, media type, document and headers are those of the document."""
    for headers in ({}, CREDENTIALS):
        answer = await _run(service, operation, headers)

        response = operation.facts["responses"].get(str(answer.status))
        assert response is not None, f"{answer.status} is not described"
        _assert_described(answer, response)


async def test_what_is_not_there_is_answered_as_described(start_service: StartService) -> None:
    """Given an Autoenhance without the example order: who is refused is told where it stands, too."""
    service = await start_service(rate_limit="1000/minute", service_api_key=KEY, admin_token=TOKEN)
    counted = set()
    for operation in OPERATIONS:
        answer = await _run(service, operation, CREDENTIALS)
        _assert_described(answer, operation.facts["responses"][str(answer.status)])
        if "RateLimit" in answer.headers:
            counted.add((operation.facts["operationId"], answer.status))

    assert counted >= {("download", 404), ("image", 404), ("overview", 404)}


def test_an_unaltered_photo_may_have_a_format_of_its_own() -> None:
    """Cameras and telephones make others than Autoenhance."""
    (image,) = (each for each in OPERATIONS if each.facts["operationId"] == "image")

    assert image.facts["responses"]["200"]["content"].keys() > {"image/jpeg", "image/heic", "image/tiff"}


async def test_what_a_route_counts_is_counted_and_nothing_else(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """The answer tells where the caller stands exactly where the route says what it counts against."""
    _know_example(upstream)
    service = await start_service(rate_limit="1000/minute", service_api_key=KEY, admin_token=TOKEN)
    counted = {}
    for operation in OPERATIONS:
        answer = await _run(service, operation, CREDENTIALS)
        if answer.status < 400:
            counted[str(operation)] = "RateLimit" in answer.headers

    policies = {f"{route.method.lower()} {route.canonical}": route.counts for route in ROUTES}
    assert len(counted) > 20
    assert {policies[name] for name, is_counted in counted.items() if is_counted} >= {*Counts} - {Counts.IMAGES}
    # Of images only what asks Autoenhance is counted, of links only those that are to last.
    sometimes = {name for name, counts in policies.items() if counts is Counts.IMAGES} | {"post /v1/links"}
    assert counted == {
        name: policies[name] is not None and (name not in sometimes or counted[name]) for name in counted
    }


async def test_answers_are_what_their_models_say(service: Service) -> None:
    """Also those that are built as plain mappings: dates are dates, words are of their set, nothing is left out."""
    models = {
        (route.method.lower(), route.canonical, one.status): one.content
        for route in ROUTES
        for one in route.answers
        if isinstance(one.content, type)
    }
    seen = set()
    for operation in OPERATIONS:
        answer = await _run(service, operation, CREDENTIALS)
        model = models.get((operation.method, operation.path, answer.status))
        if model is not None:
            model.model_validate_json(answer.body)
            seen.add(model.__name__)

    assert seen >= {"Overview", "JobDocument", "JobPage", "Link", "SessionDocument", "StatsDocument", "Health"}


async def test_the_examples_are_not_all_errors(service: Service) -> None:
    """Whoever sends them as they stand gets what is described; where that cannot be, the reason is known."""
    fine = set()
    for operation in OPERATIONS:
        answer = await _run(service, operation, CREDENTIALS)
        if answer.status < 400:
            fine.add(operation.facts["operationId"])

    refused = {operation.facts["operationId"].removesuffix("Alias") for operation in OPERATIONS} - fine
    assert refused == NEED_MORE


async def test_a_refused_caller_is_answered_as_described(start_service: StartService) -> None:
    """429 with the headers that the document names."""
    service = await start_service(rate_limit="1/minute")
    download = next(operation for operation in OPERATIONS if operation.facts["operationId"] == "download")
    await _run(service, download, {})

    answer = await _run(service, download, {})

    assert answer.status == 429
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(answer.headers)
    _assert_described(answer, download.facts["responses"]["429"])


async def _run(service: Service, operation: Operation, headers: dict[str, str]) -> Answer:
    path, query = operation.path, []
    sent = dict(headers)
    for parameter in operation.facts["parameters"]:
        if "example" not in parameter or parameter["name"] in ("Authentication", "If-Match", "Range", "If-Range"):
            continue
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        elif parameter["in"] == "query":
            query.append((parameter["name"], str(parameter["example"])))
        else:
            sent[parameter["name"]] = str(parameter["example"])
    content = operation.facts.get("requestBody", {}).get("content", {}).get("application/json")
    url = service.url + path + (f"?{urlencode(query)}" if query else "")
    body = content and content["example"]
    async with service.session.request(
        operation.method, url, json=body, headers=sent, allow_redirects=False
    ) as response:
        return Answer(response.status, response.headers, await response.read())


def _assert_described(answer: Answer, response: dict[str, Any]) -> None:
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if answer.body:
        schema = response["content"][kind]["schema"]
        if kind.endswith("json"):
            jsonschema.validate(answer.document, {**schema, "components": document(ROUTES)["components"]})
    undocumented = {name.lower() for name in answer.headers} - SAID_BY_HTTP - GUARDS
    assert undocumented <= {name.lower() for name in response["headers"]}


def _parameter(name: str) -> dict[str, Any]:
    return next(one for operation in OPERATIONS for one in operation.facts["parameters"] if one["name"] == name)


def _know_example(upstream: FakeUpstream) -> None:
    example = str(_parameter("order_id")["example"])
    upstream.orders[example] = order(["a"], order_id=example)
    upstream.images["a"] = jpeg()
