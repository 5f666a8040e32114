"""The components of the OpenAPI document: schemas of the models that the routes name, and their parameters."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from service.api import documents
from service.api.route import Json, Parameter, Route


class _PlainSchema(GenerateJsonSchema):
    """Without a title for each member, which would repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Schemas:
    """The components that operations share: a schema for each model and each set of values, and the parameters."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(documents.Problem, "serialization"): None}
        for route in routes:
            models = [route.query] if route.query else []
            models += [route.body.model] if route.body else []
            models += [route.callback.model] if route.callback else []
            wanted |= dict.fromkeys((model, "validation") for model in models)
            contents = [answer.content for answer in route.answers]
            wanted |= dict.fromkeys((model, "serialization") for model in contents if isinstance(model, type))
        self._references, found = models_json_schema(
            list(wanted), ref_template="#/components/schemas/{model}", schema_generator=_PlainSchema
        )
        self.components: Json = found["$defs"]
        self._enums: dict[tuple[object, ...], str] = {
            tuple(schema["enum"]): name for name, schema in self.components.items() if "enum" in schema
        }
        queries = dict.fromkeys(route.query for route in routes if route.query is not None)
        for name, schema in [*self.components.items()]:
            self._name_words("" if name in map(self._name_of, queries) else name, schema.get("properties", {}))
        self.parameters: Json = {}
        self._queries = {
            model: [
                self._share(model, self._query(name, field))
                for name, field in self.components[self._name_of(model)]["properties"].items()
            ]
            for model in queries
        }
        for model in queries.keys() - {route.body.model for route in routes if route.body is not None}:
            del self.components[self._name_of(model)]

    def of(self, model: type[BaseModel], mode: JsonSchemaMode = "serialization") -> Json:
        """A reference to a model's schema."""
        return dict(self._references[(model, mode)])

    def query(self, model: type[BaseModel] | None) -> list[Json]:
        """References to the parameters that a query's model reads."""
        return self._queries[model] if model is not None else []

    def parameter(self, parameter: Parameter) -> Json:
        """A reference to a parameter of the path or a header."""
        schema = {"type": "string", **({"format": parameter.format} if parameter.format else {})}
        return self._share(
            None,
            {
                "name": parameter.name,
                "in": parameter.where,
                **({"required": True} if parameter.where == "path" else {}),
                "description": parameter.description,
                "schema": schema,
                "example": parameter.example,
            },
        )

    def _name_of(self, model: type[BaseModel]) -> str:
        return str(self._references[(model, "validation")]["$ref"]).rpartition("/")[2]

    def _query(self, name: str, field: Json) -> Json:
        """A query cannot say null, and a parameter that is left out is null already."""
        kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
        is_left_out = kinds or field.get("default") == []
        dropped = {"anyOf", "description"} | ({"default"} if is_left_out else set())
        schema = {key: value for key, value in (field | (kinds[0] if kinds else {})).items() if key not in dropped}
        return {"name": name, "in": "query", "description": field.get("description", ""), "schema": schema}

    def _share(self, model: type[BaseModel] | None, parameter: Json) -> Json:
        key = str(parameter["name"])
        if self.parameters.get(key, parameter) != parameter:
            key = f"{model.__name__ if model else parameter['in']}_{key}"
        self.parameters[key] = parameter
        return {"$ref": f"#/components/parameters/{key}"}

    def _name_words(self, owner: str, members: Json) -> None:
        """Make each set of values that a member may be a schema of its own, so that programs have one type for it."""
        for name, field in members.items():
            for schema in (field, *field.get("anyOf", ()), field.get("items", {})):
                if len(schema.get("enum", ())) > 1:
                    values = tuple(schema.pop("enum"))
                    if values not in self._enums:
                        self._enums[values] = owner + "".join(part.capitalize() for part in name.split("_"))
                        self.components[self._enums[values]] = {"type": "string", "enum": list(values)}
                    schema.pop("type", None)
                    schema["$ref"] = f"#/components/schemas/{self._enums[values]}"
