"""Classifier heads that compare distances: harmonic loss (Baek et al. 2025), its controls, any distance, any model.

    distances    every distance by name; matmul, coordinates and blocks hold their arithmetic
    harmonic     logits from distances, and the control without a logarithm
    loss         harmonic cross-entropy that never holds all logits
    head         layers in place of a classifier's last linear one
    replace      put such a layer on a model, and find it again after saving

Importing this package imports nothing.
"""
