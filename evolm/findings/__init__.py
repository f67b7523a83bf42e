"""One sub-package per documented finding. Each exposes `FINDING`; the registry discovers them."""
