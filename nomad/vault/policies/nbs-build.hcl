# Task `build` of a build: Git credentials, credentials for pulling base images and for the registry
# cache, and what RUN steps are given by build_secrets and build_ssh. Only the last may ever be seen
# by a Dockerfile.

path "secret/data/nomad-build-service/git/*" {
  capabilities = ["read"]
}

path "secret/data/nomad-build-service/pull/*" {
  capabilities = ["read"]
}

path "secret/data/nomad-build-service/cache/*" {
  capabilities = ["read"]
}

path "secret/data/nomad-build-service/build/*" {
  capabilities = ["read"]
}

path "secret/data/nomad/jobs/git-*" {
  capabilities = ["read"]
}
