"""What is done in a block: the measurements, and the checks that they are true."""
