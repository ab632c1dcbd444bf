"""The runner: what happens inside the tasks of a build's allocation.

Standard library and `controller.contract` only, so that a phase starts in milliseconds and a build
node needs nothing but Python, Git, Buildah and skopeo.
"""
