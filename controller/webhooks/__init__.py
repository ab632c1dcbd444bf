"""Webhooks: what is sent when a build has ended, to where, and until when it is tried."""
