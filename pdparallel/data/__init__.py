"""Units: how rows, values, groups and windows are cut and handed to a function."""
