"""Set-up of a checkout: virtual environment, locked packages, stamps. Needs nothing but the standard library."""
