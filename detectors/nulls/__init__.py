"""Statistics with their nulls: marginals, importances, itemsets, margins of a finite reference."""
