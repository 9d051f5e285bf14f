"""The API as a page for people, from its OpenAPI description: no script, nothing from elsewhere."""

from __future__ import annotations

import re
from html import escape
from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>FaceLift: HTTP API</title>
<link rel="icon" href="static/icon.svg">
<link rel="stylesheet" href="static/app.css">
</head>
<body>
<header><h1>FaceLift: HTTP API</h1>
<nav><a href="./">Application</a> <a href="openapi.json">openapi.json</a></nav></header>
<main class="reference">
<p>Errors are JSON: <code>{{"detail": "One sentence that says what to do."}}</code>. Addresses are relative
to this server's.</p>
{operations}
<h2>What comes back</h2>
{schemas}
</main>
</body>
</html>
"""
SHOWN = ("HeadStatus", "File", "HeadWarning", "Info", "Health")


def reference_page(openapi: dict[str, Any]) -> str:
    """HTML that lists every operation with its options, and the fields of what comes back.

    Args:
        openapi: as `FastAPI.openapi()` gives it.
    """
    operations = [
        _operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = openapi["components"]["schemas"]
    shown = [f"<h3>{name}</h3>{_fields(schemas[name]['properties'].items())}" for name in SHOWN]
    return PAGE.format(operations="\n".join(operations), schemas="\n".join(shown))


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    options = [
        (parameter["name"], parameter["schema"] | {"description": parameter.get("description", "")})
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    table = _fields(options) if options else ""
    text = re.sub("`(.+?)`", r"<code>\1</code>", escape(operation.get("description", "")))
    return f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{text}</p>{table}</section>"


def _fields(fields: Any) -> str:
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(schema))}</td>"
        f"<td>{escape(schema.get('description', ''))}</td></tr>"
        for name, schema in fields
    ]
    return f"<table>{''.join(rows)}</table>"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(kind) for kind in schema["anyOf"])
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f" from {low}" if low is not None else ""
    bounds += f" to {high}" if high is not None else ""
    default = f", default {schema['default']}" if schema.get("default") is not None else ""
    return f"{kind}{bounds}{default}"
