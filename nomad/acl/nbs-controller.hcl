# The controller, by its workload identity: see builds, start and stop them, read their files and
# logs, remove what is over. It may register no job and read no variable.

namespace "default" {
  capabilities = [
    "list-jobs",
    "read-job",
    "dispatch-job",
    "read-fs",
    "deregister-job",
    "purge-job",
    "gc-allocation",
  ]
}

# What checkJob says about room for a build.
node {
  policy = "read"
}
