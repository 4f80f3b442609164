"""Results read back, figures, and the page that shows them."""
