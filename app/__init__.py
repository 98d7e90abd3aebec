"""The position sizer; each floor imports only from those before it.

The floors: core, codecs, processor, stream, broker, replay, demo, cli.
"""
