"""The service as a Model Context Protocol server: every operation a tool, builds as resources."""
