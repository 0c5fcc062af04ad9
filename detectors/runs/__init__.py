"""What a trained run does: predict, evaluate, sample."""
