"""A cloud as an operator sees it: description, plan, steps, running services."""
