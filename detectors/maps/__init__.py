"""Heat maps, and boxes from them."""
