"""A build node's disk: an owner's storage, what is evicted from it, what must stay free."""
