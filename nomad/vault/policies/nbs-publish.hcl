# Task `publish` of a build: registry credentials. It runs after the last line of the
# Dockerfile and of the tests has ended.

path "secret/data/nomad-build-service/registry/*" {
  capabilities = ["read"]
}

path "secret/data/nomad/jobs/registry-*" {
  capabilities = ["read"]
}

# Signing images and provenance (pack variable signing_key). The key itself never leaves Vault.
path "transit/sign/nbs-*" {
  capabilities = ["update"]
}
