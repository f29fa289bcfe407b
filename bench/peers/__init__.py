"""One hop of other frameworks, as their documentation writes it; each a program of its own."""
