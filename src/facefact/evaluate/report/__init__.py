"""A report as a folder: report.json for programs, report.html to look at, report.md for a model card."""
