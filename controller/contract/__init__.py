"""What the controller and the runner inside Nomad's tasks agree on.

Standard library only: the runner imports this in every phase of every build, and a phase must
start in under 150 ms. Nothing here does I/O on a network.
"""
