# Placement and names

variable "namespace" {
  description = "Nomad namespace of all jobs. One deployment is one trust domain: who may dispatch here may use what its Vault roles can read."
  type        = string
  default     = "default"
}

variable "region" {
  description = "Nomad region; empty for the agent's own."
  type        = string
  default     = ""
}

variable "datacenters" {
  description = "Datacenters that the jobs may be placed in."
  type        = list(string)
  default     = ["*"]
}

variable "node_pool" {
  description = "Node pool of the controller and of build classes that name none."
  type        = string
  default     = "default"
}

variable "name_prefix" {
  description = "Put before every job and service name, so that two deployments can live in one namespace. Letters, digits and dashes."
  type        = string
  default     = ""
}

# How tasks run

variable "driver" {
  description = "Task driver: docker (image `image`) or raw_exec (dedicated build nodes prepared with scripts/node-setup)."
  type        = string
  default     = "docker"
}

variable "image" {
  description = "Driver docker: the image with controller, runner, Buildah and Git (scripts/image or nomad/image/Dockerfile), by a tag other than latest, which Nomad would pull again each time, or by digest."
  type        = string
  default     = "nomad-build-service:0.1.0"
}

variable "network_mode" {
  description = "Driver docker: the network of the build tasks: bridge, host, or a network of the engine. It must reach Git, registry and Vault; steps and tests get networks of their own within it. The controller always has the node's."
  type        = string
  default     = "bridge"
}

variable "seccomp_profile" {
  description = "Driver docker: path of the pack's seccomp.json on the build nodes; Nomad's client agent reads it."
  type        = string
  default     = "/opt/nomad-build-service/seccomp.json"
}

variable "storage_volume" {
  description = "Driver docker: host volume of the nodes for layers and caches, mounted at storage_dir. Empty: storage_dir itself is mounted, which needs the client's plugin docker with volumes enabled."
  type        = string
  default     = ""
}

variable "node_prefix" {
  description = "Driver raw_exec: where scripts/node-setup installed runner and Buildah on the nodes."
  type        = string
  default     = "/opt/nomad-build-service"
}

variable "task_user" {
  description = "User of the build tasks; it needs a range of subordinate ids. Empty: the user of Nomad's agent."
  type        = string
  default     = "build"
}

variable "controller_user" {
  description = "User of the controller. Empty: the user of Nomad's agent."
  type        = string
  default     = "build"
}

variable "storage_dir" {
  description = "Directory on every build node for layers and caches; owned by task_user (driver docker: by uid 1000), on a file system that overlayfs accepts (ext4, xfs), not on overlay."
  type        = string
  default     = "/var/lib/nomad-build-service/storage"
}

# Servers

variable "nomad_addr" {
  description = "Address of Nomad's HTTP API for the controller. Empty: the task API socket that Nomad gives it."
  type        = string
  default     = ""
}

variable "consul_addr" {
  description = "Address of Consul's HTTP API for the controller (settings and history)."
  type        = string
  default     = "http://127.0.0.1:8500"
}

variable "consul_auth_method" {
  description = "Consul auth method (scripts/access-setup) that the controller logs in with, by its workload identity. Empty: it does not log in."
  type        = string
  default     = "nbs"
}

variable "vault_addr" {
  description = "Address of Vault for build tasks and controller. Empty: no credentials can be used."
  type        = string
  default     = ""
}

variable "nomad_cacert" {
  description = "Path on the nodes of the certificate authority of Nomad's HTTPS, where nomad_addr is https and the system does not know it."
  type        = string
  default     = ""
}

variable "consul_cacert" {
  description = "Path on the nodes of the certificate authority of Consul's HTTPS, where the system does not know it."
  type        = string
  default     = ""
}

variable "vault_cacert" {
  description = "Path on the nodes of the certificate authority of Vault's HTTPS, where the system does not know it."
  type        = string
  default     = ""
}

variable "vault_auth_mount" {
  description = "Mount of Vault's JWT auth method that trusts Nomad's workload identities."
  type        = string
  default     = "jwt-nomad"
}

variable "vault_role_prefix" {
  description = "Vault roles are this with -build, -publish and -controller behind it (nomad/vault/)."
  type        = string
  default     = "nbs"
}

variable "vault_kv_mount" {
  description = "Mount of the KV version 2 secrets engine that holds credentials."
  type        = string
  default     = "secret"
}

variable "vault_identity_ttl" {
  description = "Life of a task's identity for Vault. Longer than twice the longest build: Nomad writes the identity again at half of it."
  type        = string
  default     = "24h"
}

# What builds may do

variable "insecure_registries" {
  description = "Registries (host:port) that are spoken to without TLS or with a certificate that is not verified."
  type        = list(string)
  default     = []
}

variable "pull_credentials_path" {
  description = "Vault path of a credential (registry, username, password) for pulling base images; empty for none."
  type        = string
  default     = ""
}

variable "cache_repository" {
  description = "Repository below which builds share layers between nodes, each owner in one of its own, such as registry.example.com/nbs/cache. Empty: layers stay on their node."
  type        = string
  default     = ""
}

variable "cache_credentials_path" {
  description = "Vault path (below cache/) of registry, username and password for cache_repository; it should reach nothing else. Empty for none."
  type        = string
  default     = ""
}

variable "intermediate_repository" {
  description = "Private repository for images that failed their tests, or whose request says keep_intermediate, such as registry.example.com/nbs/intermediate; tagged with the job_id, removed by cleanup and by age. Empty: none are kept."
  type        = string
  default     = ""
}

variable "intermediate_credentials_path" {
  description = "Vault path (below intermediate/) of username and password for intermediate_repository, with the rights to push and to delete there and nowhere else; empty for none."
  type        = string
  default     = ""
}

variable "intermediate_pull_credentials_path" {
  description = "Vault path (below pull/) of username and password that may pull from intermediate_repository, for rerunPhase. Empty: pull_credentials_path is used."
  type        = string
  default     = ""
}

variable "keep_failed_images" {
  description = "Keep the image of a build whose tests or publishing failed in intermediate_repository."
  type        = bool
  default     = true
}

variable "intermediate_retention" {
  description = "How long intermediate images stay after their build's end: 7d, 12h; 0 as long as the build's record. Empty: the controller's setting in Consul, else 7 days."
  type        = string
  default     = ""
}

variable "history_retention" {
  description = "How long ended builds are kept in the history: 30d, 12h; 0 for ever. Empty: the controller's setting in Consul, else 90 days."
  type        = string
  default     = ""
}

variable "git_protocols" {
  description = "Git transports that may be used. Add http only for servers that you trust on a network that you trust."
  type        = list(string)
  default     = ["https", "ssh"]
}

variable "git_hosts" {
  description = "Git servers that builds and their submodules may be fetched from, as patterns such as github.com or *.example.com:8443. Empty: all."
  type        = list(string)
  default     = []
}

variable "git_known_hosts" {
  description = "Host keys of Git servers for SSH, in known_hosts format; a secret may bring its own as field known_hosts."
  type        = string
  default     = ""
}

variable "build_network_allow" {
  description = "Private ranges (CIDR) that build steps may reach. All others, the node's own addresses and its loopback are closed to them."
  type        = list(string)
  default     = []
}

variable "build_timeout" {
  description = "Seconds a build may take where the request says nothing."
  type        = number
  default     = 1800
}

variable "test_timeout" {
  description = "Seconds all tests of a build may take where the request says nothing."
  type        = number
  default     = 600
}

variable "publish_timeout" {
  description = "Seconds that publishing may take, with all its tries."
  type        = number
  default     = 900
}

variable "git_stall_timeout" {
  description = "Seconds after which a fetch of which nothing arrives is broken off. Servers over HTTP may be silent while they put together a large repository."
  type        = number
  default     = 60
}

variable "registry_stall_timeout" {
  description = "Seconds after which a push, or the pull of a base image, that neither sends nor receives is broken off and tried again. Registries may be silent while they store a large layer."
  type        = number
  default     = 60
}

variable "provenance" {
  description = "Attach SLSA v1 provenance to every published image, as an OCI referrer."
  type        = bool
  default     = true
}

variable "sbom" {
  description = "Attach a bill of materials (SPDX) to every published image, on nodes that have Syft."
  type        = bool
  default     = true
}

variable "signing_key" {
  description = "Key of Vault's transit engine, as MOUNT/NAME of type ecdsa-p256, such as transit/nbs-images: images, provenance and SBOM are signed by it. Empty: none."
  type        = string
  default     = ""
}

variable "log_max_mb" {
  description = "Largest log of one phase, in MB; what goes beyond is dropped and said so."
  type        = number
  default     = 64
}

variable "cache_budget_mb" {
  description = "Disk space for layers and caches on each build node, in MB; image-prune keeps to it."
  type        = number
  default     = 20480
}

variable "disk_floor_mb" {
  description = "Free disk space, in MB, that builds must leave on a node: one that would go below it is ended with OutOfDisk."
  type        = number
  default     = 1024
}

variable "prune_cron" {
  description = "When image-prune runs, as a cron expression in UTC."
  type        = string
  default     = "*/30 * * * *"
}

# Build classes

variable "build_classes" {
  description = "Sizes of builds by name. `default` is the job image-build; every other (up to 8) is a job image-build-NAME. cpu in MHz; memory, memory_max (0: none), disk in MB; phases test and publish have half of cpu and memory; arch as in the node attribute cpu.arch, empty for any; constraints as Nomad's; emulates: further architectures whose programs its nodes run by emulation, may be left out. A request for several platforms gets an allocation for each architecture where each has a class that names it."
  type = map(object({
    cpu         = number
    memory      = number
    memory_max  = number
    disk        = number
    node_pool   = string
    arch        = string
    constraints = list(object({ attribute = string, operator = string, value = string }))
    emulates    = optional(list(string))
  }))
  default = {
    default = {
      cpu         = 1000
      memory      = 2048
      memory_max  = 0
      disk        = 10240
      node_pool   = ""
      arch        = ""
      constraints = []
    }
  }
}

# Controller

variable "controller_count" {
  description = "Number of controllers. They hold no state and need not know of each other."
  type        = number
  default     = 1
}

variable "controller_cpu" {
  description = "CPU of the controller in MHz."
  type        = number
  default     = 200
}

variable "controller_memory" {
  description = "Memory of the controller in MB."
  type        = number
  default     = 256
}

variable "http_port" {
  description = "Port of the API on the controller's node; 0 for a dynamic one (found through Consul)."
  type        = number
  default     = 0
}

variable "consul_service_tags" {
  description = "Tags of the API's Consul service, for a load balancer to pick up."
  type        = list(string)
  default     = []
}

variable "allowed_hosts" {
  description = "Names that callers reach the API by, such as builds.example.com; addresses and names below .consul need not be named."
  type        = list(string)
  default     = []
}

variable "allowed_origins" {
  description = "Origins of web pages that may call the API, such as https://ui.example.com."
  type        = list(string)
  default     = []
}

variable "webhook_allow" {
  description = "What webhooks may reach beside public addresses over HTTPS: names, patterns such as *.example.com, ranges such as 10.1.0.0/16."
  type        = list(string)
  default     = []
}

variable "webhook_cacert" {
  description = "Path on the nodes of a certificate authority of webhooks' receivers, beside those that the system knows."
  type        = string
  default     = ""
}

variable "public_url" {
  description = "URL that callers reach the API by, where it is behind a proxy or load balancer."
  type        = string
  default     = ""
}

variable "auth_mode" {
  description = "nomad: callers present a Nomad token (auth_nomad_policies). jwt: a token of auth_issuer. jwt,nomad: either. none: no credential; the controller then serves on loopback only, unless allow_anonymous."
  type        = string
  default     = "nomad"
}

variable "auth_nomad_policies" {
  description = "What Nomad's ACL policies and roles allow here: by name (which may hold one *), the scopes (build:read, build:write, build:admin) and whose builds (* stands for what it matched). Management tokens may do everything."
  type = map(object({
    scopes = list(string)
    owner  = string
  }))
  default = {}
}

variable "auth_issuer" {
  description = "OpenID Connect issuer of callers' tokens, such as https://login.example.com."
  type        = string
  default     = ""
}

variable "auth_audience" {
  description = "Audience that callers' tokens must have, such as the API's public URL."
  type        = string
  default     = ""
}

variable "auth_jwks_url" {
  description = "The issuer's signing keys, where it has no discovery document."
  type        = string
  default     = ""
}

variable "auth_cacert" {
  description = "Path on the nodes of the certificate authority of the issuer's HTTPS, where the system does not know it."
  type        = string
  default     = ""
}

variable "auth_owner_claim" {
  description = "Claim of a token that names the owner of the caller's builds."
  type        = string
  default     = "sub"
}

variable "auth_scope_claim" {
  description = "Claim of a token that holds the caller's scopes."
  type        = string
  default     = "scope"
}

variable "auth_required_claims" {
  description = "Claims that callers' tokens must have, as NAME=VALUE, such as nomad_namespace=ci."
  type        = list(string)
  default     = []
}

variable "auth_default_scopes" {
  description = "Scopes of callers whose token names none: build:read, build:write, build:admin."
  type        = list(string)
  default     = []
}

variable "allow_anonymous" {
  description = "With auth_mode none: serve on an address that others reach too, to everybody. Otherwise the controller refuses to start there."
  type        = bool
  default     = false
}

variable "owner_policies" {
  description = "What owners may use: from an owner's name or pattern to repositories, registries, vault_paths and protected_tags (lists of patterns; absent: the default), max_running and max_queued (0: no limit)."
  type        = any
  default     = {}
}

variable "audit" {
  description = "Audit lines in the controller's log: changes (mutations and refusals) or all (reads too)."
  type        = string
  default     = "changes"
}

variable "max_active_builds" {
  description = "Builds that may be queued or running; more are answered with 429. 0: no limit."
  type        = number
  default     = 0
}
