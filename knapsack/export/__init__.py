"""Our question sets for other harnesses."""
