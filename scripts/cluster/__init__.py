"""The embedded cluster: real Consul, Vault, Nomad, registry and Git servers on loopback.

`scripts/demo`, `scripts/node-setup` and the test suite all use this package, so that there is
one way the servers are brought up. The modules that `node-setup` needs (`toolchain` and its
siblings, `installation`, `node_setup`) use the standard library only, because a fresh machine
has no virtual environment yet.
"""
