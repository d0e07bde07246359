"""What people run: the command line. Thin: parse, call, print."""
