"""Studies over several trainings or models."""
