"""Every enabled service: up, down, stopped on purpose."""
