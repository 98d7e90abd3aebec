"""The schemas for neighbours, made from `app.codecs.records`: `make schemas` writes them."""
