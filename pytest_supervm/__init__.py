"""pytest-supervm: a performance regression laboratory that lives inside pytest."""
