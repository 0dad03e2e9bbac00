"""Problems with worked solutions as training text, held-out ones as questions, the check of answers."""
