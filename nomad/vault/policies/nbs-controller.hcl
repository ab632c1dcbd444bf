# The controller: whether a credential exists, never its value, but for the keys of webhooks.

path "secret/metadata/nomad-build-service/build/*" {
  capabilities = ["read"]
}

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

# The one subtree whose values the controller reads, because it is the controller that sends
# webhooks: their keys. Nothing below it is readable by a build.
path "secret/metadata/nomad-build-service/webhook/*" {
  capabilities = ["read"]
}

path "secret/data/nomad-build-service/webhook/*" {
  capabilities = ["read"]
}
