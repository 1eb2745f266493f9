"""Weights to bytes and back: sensitivity, allocation, factorization, quantization, entropy coding."""
