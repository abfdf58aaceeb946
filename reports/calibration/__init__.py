"""What is known of a machine before a run is judged: noise floor and sampler cost."""
