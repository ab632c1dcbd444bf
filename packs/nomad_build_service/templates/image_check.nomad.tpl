[[ template "checks" . ]]
job "[[ var "name_prefix" . ]]image-check" {
[[- template "placement" . ]]
  node_pool   = [[ var "node_pool" . | quote ]]
  type        = "batch"

  parameterized {
    payload       = "required"
    meta_optional = ["PAYLOAD_2", "PAYLOAD_3", "PAYLOAD_4", "pack.deployment_name"]
  }

  group "check" {
[[- template "at_most_once" ]]
[[- template "storage_volume" . ]]

    # Looks at repository and Dockerfile; runs nothing of them. Reads the Git credential.
    task "source" {
[[ template "runner_driver" (list . "source") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" . ]]
[[ template "runner_env" . ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" . ]]-build"
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }

    # Asks the registry whether a push would be let in. Reads the registry credential.
    task "push" {
[[ template "runner_driver" (list . "push") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" . ]]
[[ template "runner_env" . ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" . ]]-publish"
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
