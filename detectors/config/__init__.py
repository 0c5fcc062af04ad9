"""The experiment's schema, its files, and where its data come from."""
