"""The impact study: the product's rules against fixed sizing on real prices, `docs/impact.md` of what comes out.

All that is decided is decided by `app.core`, and each number is a function of the price files and of the seeds here.
"""
