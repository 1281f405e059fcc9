"""Settings of all unit tests."""

from hypothesis import settings

# how long one example takes says more about the machine than about the code
settings.register_profile("axon", deadline=None)
settings.load_profile("axon")
