"""The differential machine: the same commands on the model and on real block devices."""
