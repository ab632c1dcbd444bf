"""The cluster's servers, one module each. Each can be started, asked if ready, and stopped."""
