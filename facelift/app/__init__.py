"""`facelift app`: a web application and an HTTP API, both from one local server; see docs/app.md."""
