"""The pages of the report: documents, mixtures, trainings. Each is one file that needs nothing from elsewhere."""
