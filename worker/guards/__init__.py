"""Checks of pictures before and after the engine: unsafe content, added codes, text and watermarks.

Every guard runs on the CPU. `guard_loading` loads those that are switched on, `panel` runs them
side by side and decides. Knows nothing of jobs. Read in this order: `panel`, `guard_loading`,
`unsafe`, `codes`, `text`, `marks`, then what these share: `sameness`, `mark_features`,
`foreign_words`.
"""
