"""The service as a server of the Model Context Protocol, over Streamable HTTP."""
