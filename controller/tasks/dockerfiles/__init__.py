"""Dockerfiles: read as Buildah reads them, and checked before they are built."""
