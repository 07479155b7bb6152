"""Data sets: one file each, how they are split, and ``prepare``, which turns one into a face pack."""
