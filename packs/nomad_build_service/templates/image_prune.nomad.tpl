[[ template "checks" . ]]
[[- $pool := var "node_pool" . ]]
[[- range $name, $class := var "build_classes" . ]][[ if and $class.node_pool (ne $class.node_pool $pool) ]][[ $pool = "all" ]][[ end ]][[ end ]]
job "[[ var "name_prefix" . ]]image-prune" {
[[- template "placement" . ]]
  node_pool   = [[ $pool | quote ]]
  type        = "sysbatch"

  periodic {
    crons            = [[ list (var "prune_cron" .) | toStringList ]]
    prohibit_overlap = true
  }

  group "prune" {
[[- template "storage_volume" . ]]
    restart {
      attempts = 0
      mode     = "fail"
    }

    task "prune" {
[[ template "runner_driver" (list . "prune") ]]
[[ template "runner_env" . ]]
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
