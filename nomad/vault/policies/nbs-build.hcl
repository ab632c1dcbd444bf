# Task `build` of a build: Git credentials, and credentials for pulling base images.

path "secret/data/nomad-build-service/git/*" {
  capabilities = ["read"]
}

path "secret/data/nomad-build-service/pull/*" {
  capabilities = ["read"]
}

path "secret/data/nomad/jobs/git-*" {
  capabilities = ["read"]
}
