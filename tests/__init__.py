"""The tests of the position sizer."""
