"""Variational autoencoders of volumes: they learn what sound material looks like, from volumes without labels."""
