[[ template "checks" . ]]
[[- /* What the controller chooses a class by; constraints are the scheduler's business. */ -]]
[[- $classes := dict ]]
[[- range $name, $class := var "build_classes" . ]][[ $_ := set $classes $name (omit $class "constraints") ]][[ end ]]
job "[[ var "name_prefix" . ]]nomad-build-service" {
[[- template "placement" . ]]
  node_pool   = [[ var "node_pool" . | quote ]]
  type        = "service"

  update {
    max_parallel     = 1
    min_healthy_time = "3s"
    healthy_deadline = "2m"
    auto_revert      = true
  }

  group "controller" {
    count = [[ var "controller_count" . | int ]]

    network {
      port "http" {
[[- if var "http_port" . ]]
        static = [[ var "http_port" . | int ]]
[[- end ]]
      }

      port "metrics" {}
    }

    service {
      name     = "[[ var "name_prefix" . ]]nomad-build-service"
      port     = "http"
      provider = "consul"
      tags     = [[ var "consul_service_tags" . | toStringList ]]

      check {
        name     = "ready"
        type     = "http"
        path     = "/ready"
        interval = "5s"
        timeout  = "2s"
      }
    }

    service {
      name     = "[[ var "name_prefix" . ]]nomad-build-service-metrics"
      port     = "metrics"
      provider = "consul"

      check {
        name     = "metrics"
        type     = "http"
        path     = "/metrics"
        interval = "15s"
        timeout  = "5s"
      }
    }

    restart {
      attempts = 3
      interval = "2m"
      delay    = "2s"
      mode     = "delay"
    }

    task "controller" {
      driver = [[ var "driver" . | quote ]]
[[- if and (eq (var "driver" .) "raw_exec") (var "controller_user" .) ]]
      user   = [[ var "controller_user" . | quote ]]
[[- end ]]

      config {
[[- if eq (var "driver" .) "docker" ]]
        command      = "nbs"
        args         = ["serve"]
        ports        = ["http", "metrics"]
        # It reaches Consul's agent on the node's loopback, as it does without a container.
        network_mode = "host"
        security_opt = ["no-new-privileges"]
        volumes      = [[ template "certificates" (list (var "webhook_cacert" .) (var "auth_cacert" .) (var "nomad_cacert" .) (var "consul_cacert" .) (var "vault_cacert" .)) ]]
[[- template "container" . ]]
[[- else ]]
        command = "[[ var "node_prefix" . ]]/bin/nbs"
        args    = ["serve"]
[[- end ]]
      }

      # For Nomad's own API: the token that Nomad makes for this workload.
      identity {
        env  = true
        file = true
      }
[[ template "vault_identity" . ]]
[[- if var "consul_auth_method" . ]]

      identity {
        name = "consul"
        aud  = ["consul.io"]
        file = true
        ttl  = [[ var "vault_identity_ttl" . | quote ]]
      }
[[- end ]]

      env {
        NBS_BIND             = "${NOMAD_IP_http}"
        NBS_PORT             = "${NOMAD_PORT_http}"
        NBS_METRICS_PORT     = "${NOMAD_PORT_metrics}"
        NBS_NAMESPACE        = [[ var "namespace" . | quote ]]
        NBS_NAME_PREFIX      = [[ var "name_prefix" . | quote ]]
        NBS_BUILD_CLASSES    = [[ $classes | toJson | quote ]]
        NBS_ALLOWED_HOSTS    = [[ join "," (var "allowed_hosts" .) | quote ]]
        NBS_ALLOWED_ORIGINS  = [[ join "," (var "allowed_origins" .) | quote ]]
        NBS_WEBHOOK_ALLOW    = [[ join "," (var "webhook_allow" .) | quote ]]
        NBS_WEBHOOK_CACERT   = [[ var "webhook_cacert" . | quote ]]
        NBS_PUBLIC_URL       = [[ var "public_url" . | quote ]]
        NBS_AUTH_MODE        = [[ var "auth_mode" . | quote ]]
        NBS_AUTH_NOMAD_POLICIES = [[ var "auth_nomad_policies" . | toJson | quote ]]
        NBS_AUTH_ISSUER      = [[ var "auth_issuer" . | quote ]]
        NBS_AUTH_AUDIENCE    = [[ var "auth_audience" . | quote ]]
        NBS_AUTH_JWKS_URL    = [[ var "auth_jwks_url" . | quote ]]
        NBS_AUTH_CACERT      = [[ var "auth_cacert" . | quote ]]
        NBS_AUTH_OWNER_CLAIM = [[ var "auth_owner_claim" . | quote ]]
        NBS_AUTH_SCOPE_CLAIM = [[ var "auth_scope_claim" . | quote ]]
        NBS_MAX_ACTIVE_BUILDS = "[[ var "max_active_builds" . | int ]]"
        NBS_AUTH_REQUIRED_CLAIMS = [[ join "," (var "auth_required_claims" .) | quote ]]
        NBS_AUTH_DEFAULT_SCOPES = [[ join "," (var "auth_default_scopes" .) | quote ]]
        NBS_ALLOW_ANONYMOUS  = "[[ var "allow_anonymous" . ]]"
        NBS_OWNER_POLICIES   = [[ var "owner_policies" . | toJson | quote ]]
        NBS_GIT_HOSTS        = [[ join "," (var "git_hosts" .) | quote ]]
        NBS_GIT_PROTOCOLS    = [[ join "," (var "git_protocols" .) | quote ]]
        NBS_AUDIT            = [[ var "audit" . | quote ]]
        NBS_VAULT_AUTH_MOUNT = [[ var "vault_auth_mount" . | quote ]]
        NBS_VAULT_KV_MOUNT   = [[ var "vault_kv_mount" . | quote ]]
        NBS_VAULT_ROLE       = "[[ var "vault_role_prefix" . ]]-controller"
        NBS_VAULT_JWT_FILE   = "${NOMAD_SECRETS_DIR}/nomad_vault.jwt"
        NBS_INTERMEDIATE_REPOSITORY = [[ var "intermediate_repository" . | quote ]]
        VAULT_ADDR           = [[ var "vault_addr" . | quote ]]
        CONSUL_HTTP_ADDR     = [[ var "consul_addr" . | quote ]]
        VAULT_CACERT         = [[ var "vault_cacert" . | quote ]]
        CONSUL_CACERT        = [[ var "consul_cacert" . | quote ]]
[[- if var "consul_auth_method" . ]]
        NBS_CONSUL_AUTH_METHOD = [[ var "consul_auth_method" . | quote ]]
        NBS_CONSUL_JWT_FILE    = "${NOMAD_SECRETS_DIR}/nomad_consul.jwt"
[[- end ]]
[[- if var "intermediate_retention" . ]]
        NBS_INTERMEDIATE_RETENTION = [[ var "intermediate_retention" . | quote ]]
[[- end ]]
[[- if var "history_retention" . ]]
        NBS_HISTORY_RETENTION = [[ var "history_retention" . | quote ]]
[[- end ]]
[[- if var "nomad_addr" . ]]
        NOMAD_ADDR           = [[ var "nomad_addr" . | quote ]]
        NOMAD_CACERT         = [[ var "nomad_cacert" . | quote ]]
[[- end ]]
      }

      resources {
        cpu    = [[ var "controller_cpu" . | int ]]
        memory = [[ var "controller_memory" . | int ]]
      }

      kill_timeout = "10s"
    }
  }
}
