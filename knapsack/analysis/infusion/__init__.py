"""How much of what is infused is retained, and where more exposures make it less."""
