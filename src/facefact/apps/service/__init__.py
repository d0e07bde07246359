"""The service: portraits as jobs in one table, made by workers, asked for over HTTP."""
