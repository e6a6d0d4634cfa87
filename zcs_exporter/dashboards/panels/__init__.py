"""The panels, by what they are about; dashboards put them together."""
