"""Weights to bytes and back: Fisher information, bit allocation, factorization, quantization, entropy coding."""
