[[ template "checks" . ]]
job "[[ var "name_prefix" . ]]image-promote" {
[[- template "placement" . ]]
  node_pool   = [[ var "node_pool" . | quote ]]
  type        = "batch"

  parameterized {
    payload       = "optional"
    meta_optional = ["image", "digest", "tags", "destination", "registry_credentials_path", "destination_credentials_path", "PAYLOAD_2", "PAYLOAD_3", "PAYLOAD_4", "pack.deployment_name"]
  }

  group "promote" {
[[- template "at_most_once" ]]
[[- template "storage_volume" . ]]

    task "promote" {
[[ template "runner_driver" (list . "promote") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" . ]]
[[ template "runner_env" . ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" . ]]-publish"
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
