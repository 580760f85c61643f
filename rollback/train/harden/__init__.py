"""Options that harden a network against attacks, each with its effect and cost measured in `docs/recipes.md`."""
