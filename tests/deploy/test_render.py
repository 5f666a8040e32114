"""The blueprint for Render."""

import re
from pathlib import Path
from typing import Any

import yaml

from service.api.caller import behind_proxies
from service.commands.serve import DRAIN_SECONDS
from service.images.fetch import GRACE_SECONDS
from service.settings import GIB, Settings
from tests.deploy.test_kubernetes import LAST_SECONDS

ROOT = Path(__file__).parents[2]
# Of a service in Render's reference of blueprints, as far as this one needs them.
FIELDS = {
    "type",
    "name",
    "runtime",
    "plan",
    "dockerfilePath",
    "dockerContext",
    "healthCheckPath",
    "maxShutdownDelaySeconds",
    "numInstances",
    "disk",
    "envVars",
}


def service() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "deploy" / "render.yaml").read_text())
    assert list(document) == ["services"]
    (found,) = document["services"]
    assert isinstance(found, dict)
    return found


def test_only_known_fields_are_used() -> None:
    """Each variable has one source."""
    found = service()

    assert set(found) == FIELDS
    assert set(found["disk"]) == {"name", "mountPath", "sizeGB"}
    assert all(set(variable) - {"key"} < {"value", "sync", "generateValue"} for variable in found["envVars"])
    assert all(len(variable) == 2 for variable in found["envVars"])


def test_its_variables_are_settings_with_values_that_are_taken() -> None:
    """What Render makes stands here as its 44 characters of Base64; the image listens everywhere."""
    values = {variable["key"].lower(): variable.get("value", "A" * 43 + "=") for variable in service()["envVars"]}

    settings = Settings.load(_env_file=None, host="0.0.0.0", **values)

    assert set(values) <= set(Settings.model_fields)
    assert settings.service_api_key
    assert settings.admin_token


def test_callers_are_seen_behind_its_proxies() -> None:
    """Else all of them would be one address: ten wrong keys of anybody would keep everybody out for a minute."""
    values = {variable["key"].lower(): variable["value"] for variable in service()["envVars"] if "value" in variable}
    settings = Settings.load(_env_file=None, **values)

    caller = behind_proxies("10.21.157.68", ["99.61.165.29, 104.22.17.40"], settings.trusted_proxies)

    assert str(caller) == "104.22.17.40"


def test_images_fit_on_the_disk_which_is_where_the_image_keeps_them() -> None:
    """With room for SQLite and its reserve."""
    found = service()
    (limit,) = (int(variable["value"]) for variable in found["envVars"] if variable["key"] == "STORE_MAX_BYTES")
    (data_dir,) = re.findall(r"DATA_DIR=(\S+)", (ROOT / "Dockerfile").read_text())

    assert found["disk"]["mountPath"] == data_dir
    assert found["disk"]["sizeGB"] * GIB >= limit * 1.2


def test_it_is_built_from_what_is_here_and_stopped_in_peace() -> None:
    """The Dockerfile exists, and the grace is what a stop takes."""
    found = service()

    assert (ROOT / found["dockerfilePath"]).is_file()
    assert (ROOT / found["dockerContext"]).is_dir()
    assert found["maxShutdownDelaySeconds"] == 2 * DRAIN_SECONDS + GRACE_SECONDS + LAST_SECONDS
    assert found["healthCheckPath"] == "/readyz"
