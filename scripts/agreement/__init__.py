"""The parts of ``make study-agreement``."""
