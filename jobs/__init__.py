"""Entry points for schedulers."""
