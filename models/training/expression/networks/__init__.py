"""The shapes of the networks, teachers and students, and readers of the weights that teachers start from."""
