"""Registries: pulling, pushing, tagging, and the layer cache in one."""
