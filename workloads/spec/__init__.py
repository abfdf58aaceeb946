"""What is measured, and the messages about it: all of the payload that the controller imports."""
