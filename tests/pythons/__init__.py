"""The core of the tests on each Python and platform: ``make pythons``."""
