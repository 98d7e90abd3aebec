"""Check that the files of deploy/ are what their readers take, and as safe as they say: `make check-deploy`.

It runs in an environment of its own (requirements/deploy.txt), so it imports nothing of `app`; what it has to know
of that, `facts` asks the project's own Python.
"""
