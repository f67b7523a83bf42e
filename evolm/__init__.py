"""evolm: findings about language-model training that anyone can re-run.

    evolm list                              what can be run
    evolm run superposition --preset smoke  run one chapter
    evolm measure overlap MODEL             measure a model of your own

Importing this package imports neither torch nor pandas; the modules that need them do.
"""

__version__ = "0.1.0"
