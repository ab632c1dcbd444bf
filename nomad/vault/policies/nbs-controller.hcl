# The controller: whether a credential exists, never its value.

path "secret/metadata/nomad-build-service/git/*" {
  capabilities = ["read"]
}

path "secret/metadata/nomad-build-service/pull/*" {
  capabilities = ["read"]
}

path "secret/metadata/nomad-build-service/registry/*" {
  capabilities = ["read"]
}

path "secret/metadata/nomad/jobs/git-*" {
  capabilities = ["read"]
}

path "secret/metadata/nomad/jobs/registry-*" {
  capabilities = ["read"]
}
