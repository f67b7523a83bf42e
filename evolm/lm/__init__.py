"""Small staged language models: tasks with verifiers, training stages, samplers, and measurement of what they solve."""
