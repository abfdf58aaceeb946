"""Text: numbers as people read them, Markdown and XML."""
