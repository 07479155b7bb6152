"""The command line, one file a command: parse, build a config, call one library function.

Only here is printed: results to stdout, progress and errors to stderr.
"""
