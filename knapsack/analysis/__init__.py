"""What runs show: forgetting, infusion, and figures of any numbers."""
