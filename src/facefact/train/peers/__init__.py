"""Other methods of the field, as small as they are, trained and run as FACT is: what a comparison needs."""
