"""One file per recipe; the file's name is the recipe's. `rollback.train.recipe` says what a recipe module offers."""
