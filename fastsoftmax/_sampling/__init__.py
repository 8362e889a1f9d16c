"""What candidate sampling is made of, behind `samplers`, `sampled`, `updates` and their like."""
