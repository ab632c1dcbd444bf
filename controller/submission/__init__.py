"""From a request to a job in Nomad: which class, which builds, dispatched or found."""
