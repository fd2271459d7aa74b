"""What type checkers are to see; nothing here runs."""
