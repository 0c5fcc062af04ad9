"""Generative adversarial networks of defect patches."""
