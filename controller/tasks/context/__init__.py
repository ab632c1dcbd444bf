"""The build context: the checkout of the commit, and what of it a Dockerfile may name."""
