"""What a deployment is made of, and the tools that make and check it. Nothing of it is in the package that is installed."""
