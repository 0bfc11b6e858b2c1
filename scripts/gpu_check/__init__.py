"""make gpu-check: `scripts/gpu_check.sh --help`."""
