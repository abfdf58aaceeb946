"""A gate for continuous integration: summary, comment, annotations, JUnit. All pure."""
