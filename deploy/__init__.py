"""What a deployment is made of, and the tools that make and check it. It is no part of the installed package."""
