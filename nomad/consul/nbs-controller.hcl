# The controller: settings and history.

key_prefix "nomad-build-service/" {
  policy = "write"
}
