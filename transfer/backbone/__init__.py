"""The backbone contract: formats in, one file in the middle, formats out."""
