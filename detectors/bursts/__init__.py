"""What marks events that somebody crafted: near one another, across a border, by one source."""
