# The controller: its settings, which it only reads, and history, webhooks, tickets.

key_prefix "nomad-build-service/" {
  policy = "write"
}

key_prefix "nomad-build-service/config/" {
  policy = "read"
}
