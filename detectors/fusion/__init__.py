"""From evidence to words: findings, caveats, hypotheses and the sentences of a verdict."""
