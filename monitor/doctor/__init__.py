"""What `tocsin doctor` looks at, one kind of surroundings a file. Checks only read: they never change anything."""
