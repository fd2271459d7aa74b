"""Units of a call: how rows, values, groups and windows are cut and passed to the function."""
