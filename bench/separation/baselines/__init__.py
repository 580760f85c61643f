"""What others do, one file each: ``statistic(episode, rng) -> float``, the larger the more alarming.

They say that something has changed; whether it is poison they cannot say, so an alarm counts as saying so.
"""
