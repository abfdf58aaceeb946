"""What is measured and how it is told: all of the payload that the controller may import."""
