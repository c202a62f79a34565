"""The HTTP API: Flask blueprints over the use cases, described by one OpenAPI document."""
