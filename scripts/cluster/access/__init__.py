"""Who may do what: the service's policies and roles in Nomad, Vault and Consul.

What is set up is written in `nomad/acl`, `nomad/vault` and `nomad/consul`. For each system there is
a plan (what differs from what is wanted) and a removal (what of ours is there). The embedded
cluster and operators (`scripts/access-setup`) use the same code.
"""
