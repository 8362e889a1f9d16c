"""Other libraries' signatures over this package's functions, a module for each library.

NumPy arrays go in and come out. The library itself is neither needed nor imported.
"""
