"""Tasks with verifiers: problems, a split that never leaks, a grader of completions, and what chance would score.

`base` says what a task is; `automaton` is the routing task, `corpus` its training data; `gym` and `jsonl` take in
reasoning_gym's tasks and a user's own file.
"""
