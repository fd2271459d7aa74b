"""What users call: the accessor, its methods, and the functions of the package."""
