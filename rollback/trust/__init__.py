"""How much a row is to weigh in a training: by who supplied it, what became of their rows, and how it looks."""
