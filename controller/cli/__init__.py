"""`nbs`: the commands that talk to a running controller over its REST API."""
