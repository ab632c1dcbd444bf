"""What keeps untrusted code apart: namespaces, networks, limits, emulation."""
