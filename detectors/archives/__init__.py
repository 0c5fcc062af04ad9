"""Prediction on archives of any size, by processes of one machine or by a Ray cluster."""
