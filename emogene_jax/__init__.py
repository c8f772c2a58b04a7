"""Speech and an emotion in, a video of one person saying it out (EmoGene, in JAX)."""

__version__ = "0.1.0"
