Nomad Build Service is registered in namespace [[ var "namespace" . ]].

Wait for it:       nomad job status [[ var "name_prefix" . ]]nomad-build-service
Find it:           the Consul service [[ var "name_prefix" . ]]nomad-build-service
Is it ready:       curl http://ADDRESS:PORT/ready
See the API:       http://ADDRESS:PORT/docs, and /openapi.json
For agents:        an MCP server at http://ADDRESS:PORT/mcp, for example
                   claude mcp add --transport http builds http://ADDRESS:PORT/mcp
Submit a build:    curl -H 'Content-Type: application/json' -d @build.json http://ADDRESS:PORT/mcp/submitJob
                   or, with no controller at all:
                   nomad job dispatch -meta pack.deployment_name= [[ var "name_prefix" . ]]image-build build.json
                   (without that -meta, the next nomad-pack run stops the build)
[[- if not (var "vault_addr" .) ]]

vault_addr is empty: builds can use no Git, pull or registry credential. Set it, and run
scripts/access-setup, which makes the roles in Vault.
[[- end ]]
[[- if eq (var "driver" .) "raw_exec" ]]

Driver raw_exec: every build node needs scripts/node-setup once; it installs Buildah and the runner in
[[ var "node_prefix" . ]] and prepares user [[ var "task_user" . | default "(the agent's)" ]].
[[- end ]]
