"""A run on one machine or many: from the request to the finished result folder."""
