"""Small staged language models: tasks with verifiers, training stages, samplers and exact measurement of what they solve."""
