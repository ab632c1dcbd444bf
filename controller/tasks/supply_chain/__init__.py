"""What is published beside an image: provenance, bill of materials, signatures."""
