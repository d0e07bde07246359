"""One command of `facefact` a file: its options (`add_parser`), and what it does with them (`run`)."""
