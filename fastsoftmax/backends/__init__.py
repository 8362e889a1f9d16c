"""One module per backend, imported by name when first asked for. None imports another."""
