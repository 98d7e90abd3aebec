"""An independent, slow model of the contract, a generator of adversarial input, and a comparison with the program."""
