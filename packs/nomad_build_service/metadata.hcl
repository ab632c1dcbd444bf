app {
  url = "https://github.com/nomad-build-service/nomad-build-service"
}

pack {
  name        = "nomad_build_service"
  description = "Turns a Git repository with a Dockerfile into a tested, published image: build, test and publish as one Nomad allocation, rootless Buildah, credentials from Vault by workload identity."
  version     = "0.1.0"
}
