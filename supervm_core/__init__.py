"""The subject: a reference transaction executor and its compiled twins."""
