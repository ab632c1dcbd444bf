[[ template "checks" . ]]
job "[[ var "name_prefix" . ]]image-cleanup" {
[[- template "placement" . ]]
  node_pool   = [[ var "node_pool" . | quote ]]
  type        = "batch"

  parameterized {
    payload       = "required"
    meta_optional = ["PAYLOAD_2", "PAYLOAD_3", "PAYLOAD_4", "pack.deployment_name"]
  }

  group "cleanup" {
[[- template "at_most_once" ]]
[[- template "storage_volume" . ]]

    # Removes intermediate images. Reads the credential of the intermediate repository.
    task "cleanup" {
[[ template "runner_driver" (list . "cleanup") ]]

      dispatch_payload {
        file = "request.json"
      }
[[ template "vault_identity" . ]]
[[ template "runner_env" . ]]
        NBS_VAULT_ROLE            = "[[ var "vault_role_prefix" . ]]-intermediate"

        NBS_INTERMEDIATE_REPOSITORY       = [[ var "intermediate_repository" . | quote ]]
        NBS_INTERMEDIATE_CREDENTIALS_PATH = [[ var "intermediate_credentials_path" . | quote ]]
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
