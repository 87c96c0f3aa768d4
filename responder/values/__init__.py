"""Plain data: what is asked, how, what comes back, and what can go wrong. Immutable, standard library only."""
