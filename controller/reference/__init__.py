"""What the service offers, described: as an OpenAPI document, as a page, and as docs/reference.md.

All of it is made from `controller.operations`, the errors and the reasons, so that it cannot say
anything else than what the service does.
"""
