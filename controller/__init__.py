"""Nomad Build Service: a Git repository with a Dockerfile in, a tested, published image out."""

__version__ = "0.1.0"
