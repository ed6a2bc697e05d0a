"""A report: sections made from a run's artefacts, laid out on one page."""
