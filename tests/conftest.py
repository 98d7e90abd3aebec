"""Settings of hypothesis: the seed of a failure is printed, and no test fails for being slow on a busy machine."""

from hypothesis import settings

settings.register_profile("sizer", deadline=None, print_blob=True)
settings.load_profile("sizer")
