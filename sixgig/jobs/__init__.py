"""What sixgig does, one file a job: a typed request in, a typed result out, words to a reporter.

Sizes are bytes, files are paths. Nothing here prints, parses what someone typed, or looks at a terminal.
"""
