"""Luthier: does this need fine-tuning, and if so, is the result good and will it stay good?"""

__version__ = "0.1.0"
