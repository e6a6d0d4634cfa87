"""The objects that the agent serves: scalars and tables, each with where its value comes from."""
