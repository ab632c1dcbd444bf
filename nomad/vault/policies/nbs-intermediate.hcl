# Tasks `keep` of a build and `cleanup` of image-cleanup: the credential of the repository for
# intermediate images, and nothing else.

path "secret/data/nomad-build-service/intermediate/*" {
  capabilities = ["read"]
}
