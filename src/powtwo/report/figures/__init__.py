"""The pictures of the report: `style` says how all of them look, the others draw one kind each."""
