[[- /* Every rendered job checks the values that types alone cannot. */ -]]
[[- define "checks" -]]
[[- if not (has (var "driver" .) (list "docker" "raw_exec")) ]][[ fail (printf "variable driver must be docker or raw_exec, not %q" (var "driver" .)) ]][[ end -]]
[[- if not (regexMatch "^[A-Za-z0-9-]*$" (var "name_prefix" .)) ]][[ fail (printf "variable name_prefix may hold letters, digits and dashes only, not %q" (var "name_prefix" .)) ]][[ end -]]
[[- if not (regexMatch "^$|^[^/@[:space:]]+/[^@:[:space:]]+$" (var "intermediate_repository" .)) ]][[ fail (printf "variable intermediate_repository must be HOST/PATH without tag, not %q" (var "intermediate_repository" .)) ]][[ end -]]
[[- if not (has (var "auth_mode" .) (list "none" "jwt" "nomad" "jwt,nomad")) ]][[ fail (printf "variable auth_mode must be nomad, jwt, jwt,nomad or none, not %q" (var "auth_mode" .)) ]][[ end -]]
[[- if and (hasPrefix "jwt" (var "auth_mode" .)) (or (not (var "auth_audience" .)) (and (not (var "auth_issuer" .)) (not (var "auth_jwks_url" .)))) ]][[ fail "auth_mode jwt needs auth_audience, and auth_issuer or auth_jwks_url" ]][[ end -]]
[[- if not (regexMatch "^$|^[A-Za-z0-9_./-]+/[A-Za-z0-9_.-]+$" (var "signing_key" .)) ]][[ fail (printf "variable signing_key must be MOUNT/NAME, such as transit/nbs-images, not %q" (var "signing_key" .)) ]][[ end -]]
[[- if not (has (var "audit" .) (list "changes" "all")) ]][[ fail (printf "variable audit must be changes or all, not %q" (var "audit" .)) ]][[ end -]]
[[- if and (eq (var "driver" .) "docker") (ne (var "network_mode" .) "host") (regexMatch "^https?://(127\\.|localhost|\\[::1\\])" (var "vault_addr" .)) ]][[ fail (printf "variable vault_addr is %s, which tasks on network %s do not reach: name another address, or network_mode host" (var "vault_addr" .) (var "network_mode" .)) ]][[ end -]]
[[- if not (hasKey (var "build_classes" .) "default") ]][[ fail "variable build_classes has no class named default" ]][[ end -]]
[[- range $name, $class := var "build_classes" . ]][[ if not (regexMatch "^[a-z0-9][a-z0-9-]*$" $name) ]][[ fail (printf "a build class name may hold lower-case letters, digits and dashes only, not %q" $name) ]][[ end ]][[ end -]]
[[- if gt (len (var "build_classes" .)) 9 ]][[ fail "variable build_classes may have at most 8 classes beside default" ]][[ end -]]
[[- range $name := list "build_timeout" "test_timeout" "publish_timeout" "git_stall_timeout" "registry_stall_timeout" "log_max_mb" "cache_budget_mb" "disk_floor_mb" "controller_count" "controller_cpu" "controller_memory" "http_port" "max_active_builds" ]][[ if not (regexMatch "^[0-9]+$" (printf "%v" (var $name $))) ]][[ fail (printf "variable %s must be a whole number, not %v" $name (var $name $)) ]][[ end ]][[ end -]]
[[- range $name := list "allowed_hosts" "allowed_origins" "auth_required_claims" "auth_default_scopes" "git_hosts" "git_protocols" "insecure_registries" "webhook_allow" ]][[ range $entry := var $name $ ]][[ if regexMatch "[,$%{}[:space:]]" $entry ]][[ fail (printf "variable %s has %q: write one entry for each, without commas, blanks, dollars, percents and braces" $name $entry) ]][[ end ]][[ end ]][[ end -]]
[[- range $cidr := var "build_network_allow" . ]][[ if not (regexMatch "^[0-9.]+/[0-9]+$" $cidr) ]][[ fail (printf "variable build_network_allow has %q, which is no IPv4 range such as 10.1.0.0/16" $cidr) ]][[ end ]][[ end -]]
[[- end -]]

[[- define "placement" ]]
  namespace   = [[ var "namespace" . | quote ]]
  datacenters = [[ var "datacenters" . | toStringList ]]
[[- if var "region" . ]]
  region      = [[ var "region" . | quote ]]
[[- end ]]
[[- end -]]

[[- /* Mounts of the certificate authorities that are given, for driver docker. */ -]]
[[- define "certificates" ]][[ $mounts := list ]][[ range $path := . ]][[ if $path ]][[ $mounts = append $mounts (printf "%s:%s:ro" $path $path) ]][[ end ]][[ end ]][[ uniq $mounts | toStringList ]][[ end -]]

[[- /* A container that may do as little as can be: for all tasks of driver docker. */ -]]
[[- define "container" ]]
        image           = [[ var "image" . | quote ]]
        cap_drop        = ["all"]
        readonly_rootfs = true

        mount {
          type   = "tmpfs"
          target = "/tmp"
          tmpfs_options {
            size = 67108864
          }
        }
[[- end -]]

[[- /* Layers and caches, as a host volume of the nodes: in a group, and in a task. */ -]]
[[- define "storage_volume" ]]
[[- if and (eq (var "driver" .) "docker") (var "storage_volume" .) ]]

    volume "storage" {
      type            = "host"
      source          = [[ var "storage_volume" . | quote ]]
      access_mode     = "single-node-multi-writer"
      attachment_mode = "file-system"
    }
[[- end ]]
[[- end -]]

[[- /* A task of the runner. Arguments: root context, phase name. */ -]]
[[- define "runner_driver" ]]
[[- $ := index . 0 ]]
      driver = [[ var "driver" $ | quote ]]
[[- if and (eq (var "driver" $) "raw_exec") (var "task_user" $) ]]
      user   = [[ var "task_user" $ | quote ]]
[[- end ]]

      config {
[[- if eq (var "driver" $) "docker" ]]
        command         = "nbs-task"
        args            = ["[[ index . 1 ]]"]
        network_mode    = [[ var "network_mode" $ | quote ]]
[[- template "container" $ ]]

        # newuidmap's; with them, user namespaces map the subordinate ids. The profile is Docker's
        # own with the calls that make and enter namespaces.
        cap_add      = ["setuid", "setgid"]
        security_opt = ["seccomp=[[ var "seccomp_profile" $ ]]"]
        pids_limit   = 16384
[[- if has (index . 1) (list "build" "test") ]]
        devices      = [{ host_path = "/dev/net/tun", container_path = "/dev/net/tun" }]
[[- end ]]
[[- $volumes := list ]]
[[- if not (var "storage_volume" $) ]][[ $volumes = append $volumes (printf "%s:%s" (var "storage_dir" $) (var "storage_dir" $)) ]][[ end ]]
[[- if var "vault_cacert" $ ]][[ $volumes = append $volumes (printf "%s:%s:ro" (var "vault_cacert" $) (var "vault_cacert" $)) ]][[ end ]]
        volumes      = [[ $volumes | toStringList ]]
[[- else ]]
        command = "[[ var "node_prefix" $ ]]/bin/nbs-task"
        args    = ["[[ index . 1 ]]"]
[[- end ]]
      }
[[- if and (eq (var "driver" $) "docker") (var "storage_volume" $) ]]

      volume_mount {
        volume      = "storage"
        destination = [[ var "storage_dir" $ | quote ]]
      }
[[- end ]]
[[- end -]]

[[- define "runner_env" ]]
      env {
        NBS_DRIVER                = [[ var "driver" . | quote ]]
[[- if eq (var "driver" .) "docker" ]]
        # Where the container has a network of its own, it cannot know the node's address.
        NBS_NODE_ADDRESS          = "${attr.unique.network.ip-address}"
[[- end ]]
        NBS_STORAGE_DIR           = [[ var "storage_dir" . | quote ]]
        NBS_BUILDAH               = "[[ if eq (var "driver" .) "raw_exec" ]][[ var "node_prefix" . ]]/bin/[[ end ]]buildah"
        NBS_VAULT_ADDR            = [[ var "vault_addr" . | quote ]]
        NBS_VAULT_CACERT          = [[ var "vault_cacert" . | quote ]]
        NBS_VAULT_AUTH_MOUNT      = [[ var "vault_auth_mount" . | quote ]]
        NBS_VAULT_KV_MOUNT        = [[ var "vault_kv_mount" . | quote ]]
        NBS_PULL_CREDENTIALS_PATH = [[ var "pull_credentials_path" . | quote ]]
        NBS_CACHE_REPOSITORY      = [[ var "cache_repository" . | quote ]]
        NBS_CACHE_CREDENTIALS_PATH = [[ var "cache_credentials_path" . | quote ]]
        NBS_INSECURE_REGISTRIES   = [[ join "," (var "insecure_registries" .) | quote ]]
        NBS_GIT_PROTOCOLS         = [[ join "," (var "git_protocols" .) | quote ]]
        NBS_GIT_HOSTS             = [[ join "," (var "git_hosts" .) | quote ]]
        NBS_GIT_KNOWN_HOSTS       = [[ var "git_known_hosts" . | quote ]]
        NBS_BUILD_NETWORK_ALLOW   = [[ join "," (var "build_network_allow" .) | quote ]]
        NBS_BUILD_TIMEOUT         = "[[ var "build_timeout" . | int ]]"
        NBS_TEST_TIMEOUT          = "[[ var "test_timeout" . | int ]]"
        NBS_PUBLISH_TIMEOUT       = "[[ var "publish_timeout" . | int ]]"
        NBS_REGISTRY_STALL_TIMEOUT = "[[ var "registry_stall_timeout" . | int ]]"
        NBS_GIT_STALL_TIMEOUT = "[[ var "git_stall_timeout" . | int ]]"
        NBS_PROVENANCE            = "[[ var "provenance" . ]]"
        NBS_SBOM                  = "[[ var "sbom" . ]]"
        NBS_SYFT                  = "[[ if eq (var "driver" .) "raw_exec" ]][[ var "node_prefix" . ]]/bin/syft[[ else ]]/usr/local/bin/syft[[ end ]]"
        NBS_SIGNING_KEY           = [[ var "signing_key" . | quote ]]
        NBS_BUILDER_ID            = [[ var "public_url" . | quote ]]
        NBS_LOG_MAX_BYTES         = "[[ mul (var "log_max_mb" . | int) 1048576 ]]"
        NBS_CACHE_BUDGET_MB       = "[[ var "cache_budget_mb" . | int ]]"
        NBS_DISK_FLOOR_MB         = "[[ var "disk_floor_mb" . | int ]]"
[[- end -]]

[[- define "intermediate_env" ]]
        NBS_INTERMEDIATE_REPOSITORY = [[ var "intermediate_repository" . | quote ]]
        NBS_KEEP_FAILED_IMAGES      = "[[ var "keep_failed_images" . ]]"
[[- end -]]

[[- define "vault_identity" ]]
      identity {
        name = "vault"
        aud  = ["vault.io"]
        file = true
        ttl  = [[ var "vault_identity_ttl" . | quote ]]
      }
[[- end -]]

[[- /* Who waits for a build waits for these tasks too, and half of what starting one takes is
       starting the process that collects its output. What they have to say is in files. */ -]]
[[- define "no_logs" ]]
      logs {
        disabled = true
      }
[[- end -]]

[[- /* A failed phase is a result and never tried again; a lost node means a new allocation. */ -]]
[[- define "at_most_once" ]]
    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }
[[- end -]]

[[- /* One build class. Arguments: root context, class name. */ -]]
[[- define "image_build" ]]
[[- $ := index . 0 ]]
[[- $name := index . 1 ]]
[[- $class := index (var "build_classes" $) $name ]]
[[- template "checks" $ ]]
job "[[ var "name_prefix" $ ]]image-build[[ if ne $name "default" ]]-[[ $name ]][[ end ]]" {
[[- template "placement" $ ]]
  node_pool   = [[ $class.node_pool | default (var "node_pool" $) | quote ]]
  type        = "batch"

  parameterized {
    payload = "optional"
    # For quick use by hand; the API sends the payload only, because Nomad expands $ { } in meta,
    # and in PAYLOAD_… what of a large one is left.
    # A dispatch that sets pack.deployment_name to nothing outlives `nomad-pack run`.
    meta_optional = ["repo_url", "git_ref", "registry_url", "image_name", "PAYLOAD_2", "PAYLOAD_3", "PAYLOAD_4", "pack.deployment_name"]
  }
[[- range $class.constraints ]]

  constraint {
    attribute = [[ .attribute | quote ]]
    operator  = [[ .operator | quote ]]
    value     = [[ .value | quote ]]
  }
[[- end ]]
[[- if $class.arch ]]

  constraint {
    attribute = "${attr.cpu.arch}"
    value     = [[ $class.arch | quote ]]
  }
[[- end ]]

  group "build" {
[[- template "at_most_once" ]]
[[- template "storage_volume" $ ]]

    ephemeral_disk {
      size = [[ $class.disk | int ]]
    }

    # Fetches the ref and builds. Reads the Git and the pull credential, nothing else.
    task "build" {
      lifecycle {
        hook = "prestart"
      }
[[ template "runner_driver" (list $ "build") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" $ ]]
[[ template "runner_env" $ ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" $ ]]-build"
[[ template "intermediate_env" $ ]]
        NBS_INTERMEDIATE_PULL_CREDENTIALS_PATH = [[ var "intermediate_pull_credentials_path" $ | quote ]]
      }

      resources {
        cpu    = [[ $class.cpu | int ]]
        memory = [[ $class.memory | int ]]
[[- if $class.memory_max ]]
        memory_max = [[ $class.memory_max | int ]]
[[- end ]]
      }

      kill_timeout = "20s"
    }

    # Waits for the build's result and tests the image. Reads no credential.
    task "test" {
      lifecycle {
        hook = "prestart"
      }
[[ template "runner_driver" (list $ "test") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "runner_env" $ ]]
      }

      resources {
        cpu    = [[ div ($class.cpu | int) 2 ]]
        memory = [[ div ($class.memory | int) 2 ]]
[[- if $class.memory_max ]]
        memory_max = [[ $class.memory_max | int ]]
[[- end ]]
      }

      kill_timeout = "20s"
    }

    # Nomad starts it when build and test have succeeded. Reads the registry credential.
    task "publish" {
[[ template "runner_driver" (list $ "publish") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" $ ]]
[[ template "runner_env" $ ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" $ ]]-publish"
      }

      resources {
        cpu    = [[ div ($class.cpu | int) 2 ]]
        memory = [[ max 256 (div ($class.memory | int) 2) ]]
      }

      kill_timeout = "20s"
    }

[[- if var "intermediate_repository" $ ]]

    # Pushes the image to intermediate_repository where it is kept; reads that credential only.
    # It runs beside finish, which waits for it: a push that fails is a warning.
    task "keep" {
      lifecycle {
        hook = "poststop"
      }
[[ template "runner_driver" (list $ "keep") ]]

      dispatch_payload {
        file = "request.json"
      }

      # The default one: after a task has failed Nomad issues no other to a poststop task.
      identity {
        file = true
      }
[[ template "runner_env" $ ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" $ ]]-intermediate"
[[ template "intermediate_env" $ ]]
        NBS_INTERMEDIATE_CREDENTIALS_PATH = [[ var "intermediate_credentials_path" $ | quote ]]
      }

      resources {
        cpu    = 100
        memory = 256
      }
[[ template "no_logs" ]]
    }
[[- end ]]

    # Runs last, after success, failure and kill. No vault or template block: it must never block.
    task "finish" {
      lifecycle {
        hook = "poststop"
      }
[[ template "runner_driver" (list $ "finish") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "runner_env" $ ]]
[[ template "intermediate_env" $ ]]
      }

      resources {
        cpu    = 100
        memory = 128
      }
[[ template "no_logs" ]]
    }
  }
}
[[- end -]]

[[- /* The n-th class beside default, by name. Arguments: root context, n from 0. */ -]]
[[- define "further_class" ]]
[[- $names := without (keys (var "build_classes" (index . 0)) | sortAlpha) "default" ]]
[[- if lt (index . 1) (len $names) ]][[ template "image_build" (list (index . 0) (index $names (index . 1))) ]][[ end ]]
[[- end -]]
