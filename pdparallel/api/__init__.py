"""The public API: the accessor with its methods, and the functions of the package."""
